#!/usr/bin/env bash
# Speech Commands v2, 35 words, by fine-tuning. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/finetune.sh \
  --encoder ../../debian_sounds/ssl1/exp/frame/export-best \
  --task words --labels class --folds false \
  --config conf/finetune.yaml \
  "$@"
