#!/usr/bin/env bash
# FSD50K, 200 tags, by a linear probe. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --model ../../debian_sounds/ssl1/exp/frame/export-best \
  --exp exp/debian_sounds_frame \
  --tag_tasks fsd50k \
  "$@"
