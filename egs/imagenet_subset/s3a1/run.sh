#!/usr/bin/env bash
# S3A on a subset of ImageNet (or any folder a class): CLIP ViT-B/16, WordNet's nouns. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/kd.sh --method s3a \
  --pair openai/clip-vit-base-patch16 \
  --fit_args "--config s3a/base --vocabulary.source wordnet --vocabulary.path downloads/wordnet-base/usr/share/wordnet" \
  "$@"
