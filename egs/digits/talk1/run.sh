#!/usr/bin/env bash
# Talking Models on digits: a small CNN that has few labels talks with a larger one that has seventeen times as many. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/talk.sh \
  --teacher_args "--config conf/teacher.yaml" \
  --fit_args "--config conf/student.yaml" \
  "$@"
