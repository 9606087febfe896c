#!/usr/bin/env bash
# DESED as the DCASE task 4 baselines lay it out (2021 to 2023). Writes data/{train,dev,test}, and data/eval where it is there; clips
# that are not there any more are counted and left out.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$corpus/metadata" ] ||
  die "no $corpus/metadata: fetch DESED as the DCASE task 4 baseline says and give --data_args '--corpus FOLDER', its dataset/ with audio/ and metadata/"
python local/make_data.py "$corpus" data
