#!/usr/bin/env bash
# AudioSet's tags (--task as20k or as2m) by fine-tuning. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/finetune.sh \
  --encoder exp/frame_base/export-best \
  --labels tags \
  --config conf/finetune.yaml \
  --stage fit \
  "$@"
