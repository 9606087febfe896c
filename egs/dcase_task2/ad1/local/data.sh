#!/usr/bin/env bash
# DCASE task 2 in its layout, FOLDER/<machine>/{train,test}/*.wav. Writes data/{train,test}, data/test-<machine> and their log-mel pictures.
#   --corpus FOLDER      above the machines
#   --machines "A B"     which; left out, all
#   --mels N             rows of a picture
#   --low_db, --high_db  power of a mel band that is black and white: one range for all clips, so that a loud one is bright
set -euo pipefail
corpus=downloads
machines=
mels=128
low_db=-80
high_db=20
. ../../../recipes/lib.sh
read_options "$@"

python local/make_data.py "$corpus" data "$machines" "$mels" "$low_db" "$high_db"
