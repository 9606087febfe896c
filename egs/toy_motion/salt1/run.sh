#!/usr/bin/env bash
# SALT on clips of one motion each, made of real photographs, and on windows of real video. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/salt.sh \
  --kind video \
  --teacher_config conf/teacher.yaml \
  --student_config conf/student.yaml \
  --ema_config conf/ema.yaml \
  --class_tasks "motion direction" \
  --attentive_args "--blocks 0 --rates [0.003,0.001] --decays [0.01] --epochs 20" \
  --still "still first last" \
  "$@"
