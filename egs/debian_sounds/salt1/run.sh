#!/usr/bin/env bash
# SALT on hours of speech, effects, drums and music from Debian packages, and probes. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/salt.sh \
  --kind audio \
  --teacher_config conf/teacher.yaml \
  --student_config conf/student.yaml \
  --ema_config conf/ema.yaml \
  --class_tasks "drums letters language sounds" \
  --attentive_args "--blocks 0 --rates [0.003,0.001] --decays [0.01] --epochs 20" \
  "$@"
