#!/usr/bin/env bash
# Weakly placed sound events: a point on each, times of a few, and a teacher that makes intervals of points. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/detect.sh \
  --points train-05 --train_set train-05-taught \
  --teacher_args "--config conf/teacher.yaml --data.test [data/test]" \
  --encoder exp/ears/export --config conf/student.yaml \
  --exp exp/taught-05 \
  "$@"
