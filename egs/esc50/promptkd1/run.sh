#!/usr/bin/env bash
# PromptKD for sound on ESC-50, base to novel: CLAP teaches an AST. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/kd.sh --method promptkd \
  --pair laion/clap-htsat-unfused \
  --teacher_args "--config promptsrc/base --config conf/teacher.yaml" \
  --fit_args "--config promptkd/base --config conf/student.yaml --model.encoder MIT/ast-finetuned-audioset-10-10-0.4593" \
  --valid_sets "train unlabelled dev test" \
  --score_args "--base_novel true" \
  "$@"
