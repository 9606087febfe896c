#!/usr/bin/env bash
# MagnaTagATune as published: annotations_final.csv, and the mp3s in folders 0 to f, which lie beside it or in mp3/. Writes
# data/tags/{train,dev,test}.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$corpus/annotations_final.csv" ] || die "no $corpus/annotations_final.csv: fetch MagnaTagATune (mirg.city.ac.uk/datasets/magnatagatune, CC-BY-NC-SA) and give --data_args '--corpus FOLDER'"
audio=$corpus
[ ! -d "$corpus/mp3" ] || audio=$corpus/mp3
python local/make_data.py "$corpus/annotations_final.csv" "$audio" data
