#!/usr/bin/env bash
# How much of the voice do a tokenizer's streams carry? Telephone prompts of four voices, a model trained elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/tokenizer.sh \
  --model ../../festvox_ru/tok1/exp/small/export \
  --exp exp/festvox_ru_small \
  --test_sets voices \
  --dump data \
  --score_args "--speakers true --metrics [mel,stoi,speaker_similarity]" \
  "$@"
