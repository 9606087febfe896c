#!/usr/bin/env bash
# LibriTTS, Whisper large-v3 as teacher, the released 12.5 Hz model at the corpus' own 24 kHz. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tokenizer.sh \
  --config lm_spt/base \
  --exp exp/base_12hz \
  --train_set train_all \
  --dev_set dev_clean \
  --test_sets "test_clean test_other" \
  --teacher openai/whisper-large-v3 \
  --asr openai/whisper-large-v3 \
  --score_args "--language en" \
  "$@"
