#!/usr/bin/env bash
# MUSDB18-HQ as published: {train,test}/<track>/{mixture,vocals,drums,bass,other}.wav. Writes data/separation/{train,dev,test}.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

for name in train test; do
  [ -d "$corpus/$name" ] || die "no $corpus/$name: fetch MUSDB18-HQ (zenodo.org/record/3338373, for academic purposes) and give --data_args '--corpus FOLDER', the folder above it"
done
python local/make_data.py "$corpus" data
