#!/usr/bin/env bash
# The one file a new corpus writes: make data/train, data/dev, data/test as Kaldi has them.
#   wav.scp   <recording-id> <path>            text      <utt-id> <words>      (optional)
#   segments  <utt-id> <recording-id> <s> <e>  (optional) utt2spk <utt-id> <speaker> (optional)
# Ids sorted, unique. `audiokd validate data/train --fix true` sorts and mends what can be mended.
#   --corpus DIR   folder with train/, dev/, test/ of audio files
set -euo pipefail
corpus=
. ../../../recipes/lib.sh
read_options "$@"

[ -d "$corpus" ] || die "--data_args \"--corpus DIR\": the folder with train/, dev/, test/ of audio files"
for s in train dev test; do
  mkdir -p "data/$s"
  # an id is the path below the folder without its suffix; slashes in ids are fine
  (cd "$corpus/$s" && find . -type f \( -name '*.wav' -o -name '*.flac' -o -name '*.ogg' -o -name '*.mp3' \)) |
    sed 's#^\./##' | while read -r f; do echo "${f%.*} $corpus/$s/$f"; done | LC_ALL=C sort -k1,1 >"data/$s/wav.scp"
done
