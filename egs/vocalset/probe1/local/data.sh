#!/usr/bin/env bash
# VocalSet as published: FULL/<singer>/<context>/<technique>/*.wav. Writes data/technique and data/singer.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

[ -d "$corpus/FULL" ] || die "no $corpus/FULL: fetch VocalSet (zenodo.org/record/1203819, VocalSet11.zip, CC-BY) and give --data_args '--corpus FOLDER', the folder above it"
python local/make_data.py "$corpus/FULL" data
