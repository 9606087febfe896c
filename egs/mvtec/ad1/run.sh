#!/usr/bin/env bash
# DBFAD on the textures of MVTec AD, a model a category. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/anomaly.sh --kind dbfad \
  --weights timm/resnet34.a1_in1k \
  --categories "carpet grid leather tile wood" \
  --fit_args "--config dbfad/base" \
  "$@"
