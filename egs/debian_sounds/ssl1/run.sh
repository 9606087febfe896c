#!/usr/bin/env bash
# ATST on hours of speech, effects, drums and music from Debian packages, and five probes. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --config conf/frame.yaml \
  --exp exp/frame \
  --class_tasks "drums letters language sounds" \
  --frame_tasks "phones" \
  "$@"
