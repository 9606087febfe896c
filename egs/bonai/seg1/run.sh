#!/usr/bin/env bash
# Roofs of BONAI's off-nadir pictures: pretrain on footprints, which are off from the roofs, and adapt on a tenth of the roofs. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/seg.sh --method sda \
  --config conf/base.yaml \
  --pretrain_args "--config conf/pretrain.yaml" \
  "$@"
