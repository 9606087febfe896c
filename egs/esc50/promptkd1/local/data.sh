#!/usr/bin/env bash
# ESC-50 as published: folds 1 to 3 are train and unlabelled, 4 is dev, 5 is test. Writes data/{train,unlabelled,dev,test}.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$corpus/ESC-50-master" ] || die "no $corpus/ESC-50-master: fetch ESC-50 (github.com/karolpiczak/ESC-50, CC-BY-NC) and give --data_args '--corpus FOLDER', the folder above it"
python ../clip1/local/make_data.py "$corpus" data
for part in train:123 unlabelled:123 dev:4 test:5; do
  set=${part%:*}
  awk -v folds="${part#*:}" 'index(folds, $2) { print $1 }' data/esc50/utt2fold | subset_data data/esc50 "data/$set"
  cut -d ' ' -f 2 data/esc50/utt2label | sort -u | awk '{ name = $1; gsub("_", " ", name); print $1 "\t" name }' >"data/$set/classes.txt"
done
rm data/unlabelled/utt2label
