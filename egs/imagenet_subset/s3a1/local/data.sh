#!/usr/bin/env bash
# Pictures in a folder a class: FOLDER/train/<class>/ and FOLDER/val/<class>/. Writes data/{train,dev,test}; labels of train are left out.
#   --corpus FOLDER    above train/ and val/
#   --names FILE       names of the classes, `n01440764 tench` a line, as CoOp's classnames.txt; folders may then be a part of it
#   --wordnet FOLDER   of data.noun; downloads/wordnet-base/usr/share/wordnet is fetched from Debian's wordnet-base if left out
set -euo pipefail
corpus=downloads
names=
wordnet=
. ../../../recipes/lib.sh
read_options "$@"

[ -d "$corpus/train" ] || die "no $corpus/train: give --data_args '--corpus FOLDER', the folder above train/ and val/"
[ -n "$wordnet" ] || python -m audiokd.data.fetch deb wordnet-base --out downloads \
  --sha256 61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752
python local/make_data.py "$corpus" "$names" data
