#!/usr/bin/env bash
# ATST on AudioSet, probed by its balanced and evaluation segments. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --config atst/frame_base \
  --exp exp/frame_base \
  --tag_tasks "as20k" \
  "$@"
