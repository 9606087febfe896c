#!/usr/bin/env bash
# SALT's ViT-L on Kinetics-400, or another set in its layout. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/salt.sh \
  --kind video \
  --teacher_config salt/base \
  --student_config salt/student \
  --ema_config conf/ema.yaml \
  --class_tasks "k400" \
  --heads "attentive linear" \
  "$@"
