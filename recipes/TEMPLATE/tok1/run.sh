#!/usr/bin/env bash
# One line: what corpus, what teacher. Copy this folder to egs/<corpus>/tok1 and write local/data.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tokenizer.sh \
  --config lm_spt/small \
  --exp exp/small \
  --teacher openai/whisper-base \
  --asr openai/whisper-base \
  "$@"
