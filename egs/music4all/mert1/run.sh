#!/usr/bin/env bash
# MERT on Music4All, probed by its genres. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --method mert \
  --config mert/base \
  --exp exp/mert \
  --tag_tasks genre \
  --score_args "--head mlp" \
  "$@"
