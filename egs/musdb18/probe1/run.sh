#!/usr/bin/env bash
# MUSDB18-HQ: vocals and three more stems out of a mixture. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --model ../../debian_music/mert1/exp/mert/export-best \
  --exp exp/debian_music_mert \
  --separation_tasks separation \
  --score_args "--head mlp" \
  "$@"
