#!/usr/bin/env bash
# SALT on AudioSet's log-mel spectrograms, probed by its balanced and evaluation segments. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/salt.sh \
  --kind audio \
  --teacher_config salt/audio \
  --student_config conf/student.yaml \
  --ema_config conf/ema.yaml \
  --tag_tasks "as20k" \
  --heads "attentive linear" \
  "$@"
