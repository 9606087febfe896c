#!/usr/bin/env bash
# TiUE on drums: log-mel spectrograms of one-shots by class, distilled to 4 steps of one encoder pass. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tiue.sh \
  --teacher_args "--config conf/teacher.yaml" \
  --encoder log_mel --score_args "--rows frames" \
  "$@"
