#!/usr/bin/env bash
# Buildings of WHU's aerial set: a network that learns from clean labels, which a run on noisy ones elsewhere begins or ends with. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/seg.sh --method clean \
  --config conf/base.yaml \
  --valid_sets "train-clean dev test" \
  "$@"
