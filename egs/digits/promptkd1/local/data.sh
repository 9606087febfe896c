#!/usr/bin/env bash
# The digits of ../vl2v1, all six domains together, and its pair sets: fetched and made there where they are not.
#   what follows is passed to ../vl2v1/local/data.sh
set -euo pipefail
. ../../../recipes/path.sh

[ -e ../vl2v1/data/pair-dev/items.jsonl ] || (cd ../vl2v1 && ./local/data.sh "$@")
ln -sfn ../vl2v1/downloads downloads
python local/make_data.py ../vl2v1/data data
