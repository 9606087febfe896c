#!/usr/bin/env bash
# VL2V-ADiP on digits, one of six domains left out at a time: the pair model is trained here, on digits drawn from fonts. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/kd.sh --method vl2v \
  --pair_args "--config conf/pair.yaml" \
  --leave_out "mnist sklearn rotated inverted noisy coloured" \
  --teacher_args "--config conf/align.yaml" \
  --fit_args "--config conf/distill.yaml" \
  --valid_sets "all pair-train pair-dev" \
  "$@"
