#!/usr/bin/env bash
# DBFAD on photographed brick, grass and gravel with made defects, EfficientNet-Lite0 as teacher. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/anomaly.sh --kind dbfad \
  --categories "brick grass gravel" \
  --dev_set dev \
  --fit_args "--config conf/dbfad.yaml" \
  --valid_sets "train dev test" \
  "$@"
