#!/usr/bin/env bash
# Drums and spoken letters of three Debian packages (about 205 MB), mixed over real background recordings at known times. Writes
# data/{train,dev,test} and, of each rate, train-RATE (points on all events, events of RATE percent of the clips).
set -euo pipefail
rates="05 10 20"
clips="300 60 100"
. ../../../recipes/lib.sh
read_options "$@"

declare -A sums=(
  [hydrogen-drumkits]=6ea3c6df9a67762e2362f946c695e619859126b19fbccf32a2e8f07dfd03b2f4
  [sonic-pi-samples]=25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d
  [klettres-data]=1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8
)
for name in "${!sums[@]}"; do
  log "$name: 22 to 143 MB"
  python -m audiokd.data.fetch deb "$name" --sha256 "${sums[$name]}" --out downloads
done
read -r -a counts <<<"$clips"
python local/make_data.py downloads data "${counts[@]}"
for r in $rates; do
  python -m audiokd.data.event_points data/train "data/train-$r" --rate "0.$r"
done
# the baseline: each as long as its class is on average in those, the point in the middle; and how good such intervals are
for r in $rates; do
  audiokd intervals fixed "data/train-$r" "data/train-$r-fixed" --truth data/train --out "data/fixed-$r.json"
done
