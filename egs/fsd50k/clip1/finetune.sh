#!/usr/bin/env bash
# FSD50K, 200 tags, by fine-tuning. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/finetune.sh \
  --encoder ../../debian_sounds/ssl1/exp/frame/export-best \
  --task fsd50k --labels tags --folds false \
  --config conf/finetune.yaml \
  "$@"
