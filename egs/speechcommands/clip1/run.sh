#!/usr/bin/env bash
# Speech Commands v2, 35 words, by a linear probe. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --model ../../debian_sounds/ssl1/exp/frame/export-best \
  --exp exp/debian_sounds_frame \
  --class_tasks words \
  "$@"
