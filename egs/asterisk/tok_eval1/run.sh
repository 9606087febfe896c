#!/usr/bin/env bash
# What do a tokenizer's streams know of voices? Telephone prompts of four voices and letters said by nine; a model trained elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

shared=(--model ../../festvox_ru/tok1/exp/small/export --exp exp/festvox_ru_small --dump data)
../../../recipes/tokenizer.sh "${shared[@]}" --test_sets voices \
  --score_args "--speakers true --metrics [mel,stoi,speaker_similarity]" "$@"
../../../recipes/tokenizer.sh "${shared[@]}" --test_sets letters \
  --score_args "--metrics [mel]" --semantics_args "--context any" "$@"
