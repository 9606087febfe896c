#!/usr/bin/env bash
# ESC-50 by a linear probe, five folds. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --model ../../debian_sounds/ssl1/exp/frame/export-best \
  --exp exp/debian_sounds_frame \
  --fold_tasks esc50 \
  "$@"
