#!/usr/bin/env bash
# The data of egs/audioset/ssl1, under the same names: data/{train,dev} and data/{as20k,as2m}/{train,dev,test}. Options are its.
set -euo pipefail
corpus=downloads
audio=
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$corpus/balanced_train_segments.csv" ] ||
  die "no $corpus/balanced_train_segments.csv: fetch the segments of AudioSet and give --data_args '--corpus FOLDER --audio FOLDER'"
python ../ssl1/local/make_data.py "$corpus" "${audio:-$corpus/audio}" data
