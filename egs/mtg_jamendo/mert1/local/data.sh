#!/usr/bin/env bash
# MTG-Jamendo as published. Writes data/train and data/dev, without labels, and the tasks genre, instrument, moodtheme, top50tags.
#   --corpus FOLDER   above mtg-jamendo-dataset/, the repository
#   --audio FOLDER    of 00/ to 99/; audio/ or audio-low/ in the corpus folder if left out
set -euo pipefail
corpus=downloads
audio=
. ../../../recipes/lib.sh
read_options "$@"

repository=$corpus/mtg-jamendo-dataset
[ -d "$repository/data/splits/split-0" ] || die "no $repository: clone github.com/MTG/mtg-jamendo-dataset, fetch the audio by its scripts/download/download.py and give --data_args '--corpus FOLDER --audio FOLDER', the folder above it and that of the audio"
for name in audio-low audio; do
  [ -n "$audio" ] || [ ! -d "$corpus/$name" ] || audio=$corpus/$name
done
[ -d "$audio" ] || die "no $corpus/audio: fetch it by $repository/scripts/download/download.py and give --data_args '--corpus FOLDER --audio FOLDER'"
python local/make_data.py "$repository" "$audio" data
