#!/usr/bin/env bash
# GiantSteps, 24 keys, by MARBLE's head. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --model ../../debian_music/mert1/exp/mert/export-best \
  --exp exp/debian_music_mert \
  --key_tasks key \
  --score_args "--head mlp" \
  "$@"
