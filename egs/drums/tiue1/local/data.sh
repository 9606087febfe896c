#!/usr/bin/env bash
# Drum one-shots of two Debian packages (165 MB), cut to their first second. Writes data/train, data/dev, data/test and downloads/.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

declare -A sums=(
  [hydrogen-drumkits]=6ea3c6df9a67762e2362f946c695e619859126b19fbccf32a2e8f07dfd03b2f4
  [sonic-pi-samples]=25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d
)
for name in "${!sums[@]}"; do
  log "$name: 22 or 143 MB"
  python -m audiokd.data.fetch deb "$name" --sha256 "${sums[$name]}" --out downloads
done
python local/make_data.py downloads data
