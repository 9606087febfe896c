#!/usr/bin/env bash
# The student's pair model, a small ViT, distilled from the first. After `./run.sh --stop_stage fit --step teacher`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../../recipes/path.sh

audiokd fit lit --config conf/vit_pair.yaml --teacher.pair exp/pair/export \
  --train data/pair-train --dev data/pair-dev --exp_dir exp/vit_pair
[ -e exp/vit_pair/export/config.json ] || audiokd export exp/vit_pair exp/vit_pair/export --checkpoint best
