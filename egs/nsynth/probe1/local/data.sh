#!/usr/bin/env bash
# NSynth as published: nsynth-{train,valid,test}/examples.json and audio/. Writes data/pitch and data/instrument.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

for name in train valid test; do
  [ -e "$corpus/nsynth-$name/examples.json" ] || die "no $corpus/nsynth-$name/examples.json: fetch http://download.magenta.tensorflow.org/datasets/nsynth/nsynth-$name.jsonwav.tar.gz (CC-BY) and give --data_args '--corpus FOLDER', the folder above it"
done
python local/make_data.py "$corpus" data
