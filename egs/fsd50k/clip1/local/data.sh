#!/usr/bin/env bash
# FSD50K as published: dev_audio, eval_audio and ground_truth. Writes data/fsd50k/{train,dev,test}.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$corpus/FSD50K.ground_truth" ] || die "no $corpus/FSD50K.ground_truth: fetch FSD50K (zenodo.org/record/4060432) and give --data_args '--corpus FOLDER', the folder above it"
python local/make_data.py "$corpus" data
