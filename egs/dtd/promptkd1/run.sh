#!/usr/bin/env bash
# PromptKD on DTD, base to novel: CLIP ViT-L/14 teaches ViT-B/16. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/kd.sh --method promptkd \
  --pair openai/clip-vit-large-patch14 \
  --teacher_args "--config promptsrc/base --config conf/teacher.yaml" \
  --fit_args "--config promptkd/base --config conf/student.yaml --model.pair openai/clip-vit-base-patch16" \
  --valid_sets "train unlabelled dev test" \
  --score_args "--base_novel true" \
  "$@"
