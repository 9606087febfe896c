#!/usr/bin/env bash
# GTZAN: ten genres by MARBLE's head, and beats. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --model ../../debian_music/mert1/exp/mert/export-best \
  --exp exp/debian_music_mert \
  --class_tasks genre \
  --beat_tasks beats \
  --score_args "--head mlp" \
  "$@"
