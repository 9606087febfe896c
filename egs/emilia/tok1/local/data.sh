#!/usr/bin/env bash
# Emilia, read from its published tars in place, to data/{train,dev,test}: data/train holds links to the tars; of the last
# tar of each language some speakers become dev and test, as files of their own.
#   --corpus DIR        folder with Emilia/EN/EN-B000000.tar, ... as published
#   --languages A,B     of DE EN FR JA KO ZH
#   --held_out N        utterances of each language in dev, and in test (whole speakers, so a few more)
# The corpus is given out after a form is filled in: https://huggingface.co/datasets/amphion/Emilia-Dataset
set -euo pipefail
corpus=
languages=EN
held_out=200
. ../../../recipes/lib.sh
read_options "$@"

[ -d "$corpus" ] || die "--data_args \"--corpus DIR\": the folder with Emilia/EN/EN-B000000.tar, ... (see local/data.sh --help)"
IFS=', ' read -r -a wanted <<<"$languages"
python local/make_data.py "$corpus" data "$held_out" "${wanted[@]}"
