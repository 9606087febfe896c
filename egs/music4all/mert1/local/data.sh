#!/usr/bin/env bash
# Music4All as published: audios/*.mp3, id_information.csv and id_genres.csv. Writes data/train and data/dev, without labels, and
# the task genre.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

for name in id_information.csv id_genres.csv audios; do
  [ -e "$corpus/$name" ] || die "no $corpus/$name: ask for Music4All (sites.google.com/view/contact4music4all) and give --data_args '--corpus FOLDER'"
done
python local/make_data.py "$corpus" data
