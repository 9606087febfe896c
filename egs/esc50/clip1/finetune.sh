#!/usr/bin/env bash
# ESC-50 by fine-tuning, five folds. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/finetune.sh \
  --encoder ../../debian_sounds/ssl1/exp/frame/export-best \
  --task esc50 --labels class --folds true \
  --config conf/finetune.yaml \
  "$@"
