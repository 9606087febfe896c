#!/usr/bin/env bash
# ESC-50 as published: ESC-50-master/meta/esc50.csv and audio/. Writes data/esc50 with utt2label and utt2fold.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$corpus/ESC-50-master" ] || die "no $corpus/ESC-50-master: fetch ESC-50 (github.com/karolpiczak/ESC-50, CC-BY-NC) and give --data_args '--corpus FOLDER', the folder above it"
python local/make_data.py "$corpus" data
