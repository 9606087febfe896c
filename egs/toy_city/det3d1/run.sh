#!/usr/bin/env bash
# Point-DETR3D in a made-up city: boxes of one frame in twenty, a point on each object of the others. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/det3d.sh --method points --rate 05 --config conf/base.yaml "$@"
