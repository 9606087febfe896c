#!/usr/bin/env bash
# TiUE on handwritten digits: a conditional diffusion model, distilled to 4 steps of one encoder pass without a picture. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tiue.sh \
  --teacher_args "--config conf/teacher.yaml" \
  "$@"
