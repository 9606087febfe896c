#!/usr/bin/env bash
# LJSpeech, one voice, Whisper base.en as teacher, the small model. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tokenizer.sh \
  --config lm_spt/small \
  --exp exp/small \
  --teacher openai/whisper-base.en \
  --asr openai/whisper-small.en \
  --score_args "--language en" \
  "$@"
