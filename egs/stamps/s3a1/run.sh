#!/usr/bin/env bash
# S3A on Tux Paint's stamps: a LiT of EfficientNet-Lite0 and MiniLM, 1,000 of WordNet's nouns. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/kd.sh --method s3a \
  --pair_args "--config conf/pair.yaml" \
  --fit_args "--config conf/s3a.yaml" \
  --valid_sets "pair-train pair-dev dev test" \
  "$@"
