#!/usr/bin/env bash
# BONAI: off-nadir pictures of six Chinese cities with roofs, footprints, offsets and heights. Writes data/train-noisy, data/dev-noisy
# (footprints), data/train-clean, data/dev and data/test (roofs).
#   --corpus FOLDER   above coco/, trainval/images/ and test/images/
#   --clean SHARE     of the pictures of trainval whose roofs are learnt from
#   --dev SHARE       of those that a model is selected by
set -euo pipefail
corpus=downloads/BONAI
clean=0.1
dev=0.05
. ../../../recipes/lib.sh
read_options "$@"

python local/make_data.py "$corpus" data "$clean" "$dev"
