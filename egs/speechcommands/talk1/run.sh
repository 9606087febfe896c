#!/usr/bin/env bash
# Talking Models on Speech Commands v0.02, 35 words: a small CNN talks with a fine-tuned encoder (--teacher) or a larger CNN. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/talk.sh \
  --train words/train --dev words/dev --teacher_train words/train --teacher_dev words/dev --test_sets "words/test" \
  --valid_sets "words/train words/dev words/test" \
  --teacher_args "--config conf/teacher.yaml" \
  --fit_args "--config conf/student.yaml" \
  "$@"
