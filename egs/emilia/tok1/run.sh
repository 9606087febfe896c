#!/usr/bin/env bash
# Emilia, read from its published tars in place, Whisper large-v3 as teacher, the released 12.5 Hz model. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tokenizer.sh \
  --config lm_spt/base \
  --exp exp/base_12hz \
  --dump data \
  --teacher openai/whisper-large-v3 \
  --asr openai/whisper-large-v3 \
  "$@"
