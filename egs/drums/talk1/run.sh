#!/usr/bin/env bash
# Talking Models on drums: a small CNN that has heard 20 of each class talks with a larger one that has heard them all. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/talk.sh \
  --train few --teacher_train train --valid_sets "few train dev test letters letters-dev" \
  --teacher_args "--config conf/teacher.yaml" \
  --fit_args "--config conf/student.yaml" \
  "$@"
