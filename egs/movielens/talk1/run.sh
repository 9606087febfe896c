#!/usr/bin/env bash
# Talking Models on MovieLens: a recommender of one genre talks with one of all genres; RMSE. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/talk.sh \
  --teacher_dev teacher-dev --teacher_checkpoint best --valid_sets "" --scores ratings \
  --teacher_args "--config conf/teacher.yaml" \
  --fit_args "--config conf/student.yaml" \
  "$@"
