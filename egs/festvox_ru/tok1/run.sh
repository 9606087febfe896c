#!/usr/bin/env bash
# 1.66 h of read Russian from a Debian package, Whisper base as teacher. See README.md for the measured table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tokenizer.sh \
  --config conf/small.yaml \
  --exp exp/small \
  --teacher downloads/whisper-base \
  --asr downloads/whisper-base \
  --score_args "--language ru" \
  "$@"
