#!/usr/bin/env bash
# Point-DETR3D on nuScenes: boxes of the first 5 % of frames, a point on each object of the others. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/det3d.sh --method points --rate 05 --config conf/base.yaml \
  --score_args "--bands [20,35] --range_m 51.2" --within_m 51.2 \
  "$@"
