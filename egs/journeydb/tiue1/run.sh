#!/usr/bin/env bash
# TiUE as published: Stable Diffusion 1.5 to 4 steps of one encoder pass, from JourneyDB's prompts alone. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tiue.sh \
  --teacher stable-diffusion-v1-5/stable-diffusion-v1-5 \
  --prompts data/train/prompts.txt \
  --valid_sets test \
  --fit_args "--config tiue/base" \
  --generate_args "--batch_size 8" \
  --encoder inception --score_args "--any_size true --pair openai/clip-vit-base-patch32" \
  "$@"
