#!/usr/bin/env bash
# Supervised domain adaptation on rendered city blocks: pretrain on labels that are off, adapt on a tenth as many right ones. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/seg.sh --method sda \
  --config conf/base.yaml \
  --pretrain_args "--config conf/pretrain.yaml" \
  "$@"
