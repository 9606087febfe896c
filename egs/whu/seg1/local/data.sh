#!/usr/bin/env bash
# WHU's aerial buildings, tiles of 512 pixels, or Massachusetts buildings. Writes data/train-clean, data/dev and data/test.
#   --corpus FOLDER            above train/, val/ and test/ of WHU; of Massachusetts above train/, train_labels/ and so on
#   --set whu|massachusetts    which
set -euo pipefail
corpus=downloads/whu
set=whu
. ../../../recipes/lib.sh
read_options "$@"

python local/make_data.py "$corpus" "$set" data
