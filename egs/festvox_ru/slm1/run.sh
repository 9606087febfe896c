#!/usr/bin/env bash
# A speech language model on tok1's tokens: 1.5 h of read Russian, from scratch. See README.md for the measured tables.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/slm.sh \
  --config speech_lm/small \
  --exp exp/small \
  --tokens ../tok1/exp/small/tokens \
  --tokenizer ../tok1/exp/small/export \
  --asr ../tok1/downloads/whisper-base \
  --teacher ../tok1/downloads/whisper-base \
  --language ru \
  "$@"
