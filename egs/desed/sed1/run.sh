#!/usr/bin/env bash
# DESED: sound events in homes, from strong, weak and unlabelled clips. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/detect.sh \
  --encoder ../../debian_sounds/ssl1/exp/frame/export-best \
  --exp exp/frame \
  "$@"
