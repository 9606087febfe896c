#!/usr/bin/env bash
# PromptKD on Tux Paint's stamps, base to novel, from a LiT of EfficientNet-Lite0 and MiniLM. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/kd.sh --method promptkd \
  --pair_args "--config conf/pair.yaml" \
  --teacher_args "--config conf/teacher.yaml" \
  --fit_args "--config conf/student.yaml" \
  --valid_sets "pair-train pair-dev train dev test" \
  --score_args "--base_novel true" \
  "$@"
