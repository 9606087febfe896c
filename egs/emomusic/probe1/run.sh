#!/usr/bin/env bash
# emoMusic, valence and arousal, by MARBLE's head. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --model ../../debian_music/mert1/exp/mert/export-best \
  --exp exp/debian_music_mert \
  --value_tasks emotion \
  --score_args "--head mlp" \
  "$@"
