#!/usr/bin/env bash
# Speech Commands v0.02 as published: a folder a word, and the lists. Writes data/words/{train,dev,test}.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$corpus/speech_commands_v0.02" ] || die "no $corpus/speech_commands_v0.02: fetch Speech Commands v0.02 (download.tensorflow.org, CC-BY) and give --data_args '--corpus FOLDER', the folder above it"
python ../clip1/local/make_data.py "$corpus" data
