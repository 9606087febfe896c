#!/usr/bin/env bash
# One of the clip tasks (--task drums, letters, language or sounds) by fine-tuning. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/finetune.sh \
  --encoder exp/frame/export-best \
  --config conf/finetune.yaml \
  --stage fit \
  "$@"
