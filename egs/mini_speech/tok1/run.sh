#!/usr/bin/env bash
# 54 s of English from a Python package, Whisper tiny.en as teacher: the whole path in minutes. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tokenizer.sh \
  --config conf/demo.yaml \
  --exp exp/demo \
  --teacher downloads/whisper-tiny.en \
  --asr downloads/whisper-tiny.en \
  "$@"
