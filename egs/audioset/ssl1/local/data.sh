#!/usr/bin/env bash
# AudioSet's segments (balanced_train, unbalanced_train and eval_segments.csv, as published) and a folder of audio. Writes data/train and
# data/dev without labels, and data/{as20k,as2m}/{train,dev,test} with tags; clips that are not there any more are counted and left out.
set -euo pipefail
corpus=downloads
audio=
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$corpus/balanced_train_segments.csv" ] ||
  die "no $corpus/balanced_train_segments.csv: fetch the segments of AudioSet and give --data_args '--corpus FOLDER --audio FOLDER'"
python local/make_data.py "$corpus" "${audio:-$corpus/audio}" data
