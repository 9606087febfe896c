#!/usr/bin/env bash
# The voices' packages, unpacked below --out, which other recipes take them from as well.
set -euo pipefail
out=downloads
. "$(dirname "${BASH_SOURCE[0]}")/../../../../recipes/lib.sh"
read_options "$@"

declare -A sums=(
  [en]=2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d
  [es]=9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903
  [fr]=8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e
  [it]=5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb
  [ru]=ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201
)
for language in en es fr it ru; do
  name=asterisk-core-sounds-$language-wav
  log "$name: 18 to 24 MB"
  python -m audiokd.data.fetch deb "$name" --sha256 "${sums[$language]}" --out "$out"
done

log "klettres-data: 40 MB"
python -m audiokd.data.fetch deb klettres-data --out "$out" \
  --sha256 1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8
