#!/usr/bin/env bash
# MERT on MTG-Jamendo, probed by its four sets of tags. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --method mert \
  --config mert/base \
  --exp exp/mert \
  --tag_tasks "genre instrument moodtheme top50tags" \
  --score_args "--head mlp" \
  "$@"
