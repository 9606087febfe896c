#!/usr/bin/env bash
# Deep visual prompts: a small ViT pair model, distilled from the first, then PromptKD of run.sh's teacher into it. After `./run.sh`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../../recipes/path.sh

[ -e exp/vit_pair/export/config.json ] || {
  audiokd fit lit --config conf/vit_pair.yaml --teacher.pair exp/pair/export \
    --train data/pair-train --dev data/pair-dev --exp_dir exp/vit_pair
  audiokd export exp/vit_pair exp/vit_pair/export --checkpoint best
}
mkdir -p exp/vit
[ -e exp/vit/teacher ] || ln -s ../promptkd/teacher exp/vit/teacher
exec ../../../recipes/kd.sh --method promptkd --step student --exp exp/vit --stage fit \
  --pair exp/pair/export --fit_args "--config conf/vit.yaml" --score_args "--base_novel true" "$@"
