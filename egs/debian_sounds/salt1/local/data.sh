#!/usr/bin/env bash
# The data of egs/debian_sounds/ssl1, under the same names: data/{train,dev} and data/{drums,letters,language,sounds,phones}/{train,dev,test}.
# Where that recipe has its data here already, they are taken; else it is asked to make them.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

[ -e ../ssl1/data/sounds/test/wav.scp ] || (cd ../ssl1 && ./run.sh --stage data --stop_stage data)
# the lists name files from where that recipe stands: downloads/...
for f in data downloads; do [ -e "$f" ] || ln -s "../ssl1/$f" "$f"; done
