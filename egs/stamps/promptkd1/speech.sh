#!/usr/bin/env bash
# The same on what is said: a CLAP-like pair of Whisper tiny and MiniLM, text prompts, a student. After `./run.sh --stage data`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../../recipes/path.sh

exp=exp/speech
[ -e downloads/whisper/config.json ] || ./local/whisper.sh
audiokd fit lit --config conf/speech_pair.yaml --train data/speech-pair-train --dev data/speech-pair-dev --exp_dir $exp/pair
[ -e $exp/pair/export/config.json ] || audiokd export $exp/pair $exp/pair/export --checkpoint best
audiokd fit promptsrc --config conf/speech_teacher.yaml --model.pair $exp/pair/export \
  --train data/speech-train --dev data/speech-dev --data.test data/speech-test --exp_dir $exp/teacher
[ -e $exp/teacher/export/prompts.safetensors ] || audiokd export $exp/teacher $exp/teacher/export --checkpoint last
audiokd fit promptkd --config conf/speech_student.yaml --teacher.pair $exp/teacher/export \
  --train data/speech-unlabelled --dev data/speech-dev --data.test data/speech-test --exp_dir $exp/student
[ -e $exp/student/export/config.json ] || audiokd export $exp/student $exp/student/export --checkpoint last
audiokd extract $exp/student/export data/speech-test $exp/student/test-logits --layer logits
audiokd classify $exp/student/test-logits --data '[data/speech-test]' --out $exp/student/test.json --base_novel true
