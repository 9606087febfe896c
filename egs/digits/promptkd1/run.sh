#!/usr/bin/env bash
# PromptKD on digits, base to novel, after the pair model of ../vl2v1. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/kd.sh --method promptkd \
  --pair_args "--config ../vl2v1/conf/pair.yaml" \
  --teacher_args "--config conf/teacher.yaml" \
  --fit_args "--config conf/vit.yaml" \
  --valid_sets "pair-train pair-dev train unlabelled dev test" \
  --score_args "--base_novel true" \
  "$@"
