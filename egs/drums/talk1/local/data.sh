#!/usr/bin/env bash
# Drum one-shots of two Debian packages (165 MB) as ../tiue1 has them, and spoken letters of klettres-data (40 MB). Writes data/train, of
# which data/few is a part, data/dev, data/test, data/letters, data/letters-dev and downloads/.
#   --few N   drums of a class that the student learns from
set -euo pipefail
few=20
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
python "$(realpath ../tiue1/local/make_data.py)" downloads data # it finds others by its own place
python local/make_data.py downloads data "$few"
