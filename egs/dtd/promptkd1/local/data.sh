#!/usr/bin/env bash
# DTD with CoOp's split: dtd/images and dtd/split_zhou_DescribableTextures.json. Writes data/{train,unlabelled,dev,test}.
#   --corpus FOLDER   above dtd/, as CoOp's DATASETS.md has it
#   --set NAME        another of CoOp's eleven sets, as audiokd.data.coop_split.COOP names it
set -euo pipefail
corpus=downloads
set=DTD
. ../../../recipes/lib.sh
read_options "$@"

python local/make_data.py "$set" "$corpus" data
