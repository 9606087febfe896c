#!/usr/bin/env bash
# As promptkd1's pictures, with WordNet's nouns; labels of data/train are left out.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

../promptkd1/local/packages.sh
python -m audiokd.data.fetch deb wordnet-base --out downloads \
  --sha256 61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752
python ../promptkd1/local/make_data.py downloads/tuxpaint-stamps-default/usr/share/tuxpaint/stamps data
cp data/unlabelled/items.jsonl data/train/items.jsonl
