#!/usr/bin/env bash
# nuScenes in its own layout, from a folder that you name. Writes data/train, data/dev, data/test, whose objects all have boxes and marks, and
# data/train-<rate>, in which the first frames alone have boxes.
#   --corpus DIR             folder above samples/, sweeps/ and the version's tables
#   --version v1.0-mini      the tables
#   --scenes conf/mini       folder of train.txt, dev.txt and test.txt, the name of a scene a line
#   --sweeps 9               older sweeps a frame
#   --rates "02 05 10 20 50" per cent of the frames of data/train that keep their boxes
#   --seed 0                 of the marks
#   --max_error_rate 0.01    share of frames that may lack what they need; they are left out and named in errors.jsonl
set -euo pipefail
corpus=downloads/nuscenes
version=v1.0-mini
scenes=conf/mini
sweeps=9
rates="02 05 10 20 50"
seed=0
max_error_rate=0.01
. ../../../recipes/lib.sh
read_options "$@"

[ -d "$corpus/$version" ] || die "no $corpus/$version: download nuScenes from nuscenes.org (an account is needed) and give its folder by --corpus"
for s in train dev test; do
  [ -e "data/$s/regime.json" ] && continue
  python -m audiokd.data.nuscenes "$corpus" "$version" "$scenes/$s.txt" "data/$s" --sweeps "$sweeps" --max_error_rate "$max_error_rate"
  python -m audiokd.data.point_marks "data/$s" "data/$s" --rate 1 --seed "$seed"
done
for rate in $rates; do
  [ -e "data/train-$rate/regime.json" ] ||
    python -m audiokd.data.point_marks data/train "data/train-$rate" --rate "$(of_percent "$rate")" --seed "$seed"
done
