#!/usr/bin/env bash
# LibriSpeech to data/{train_960,dev_clean,test_clean,test_other}.
#   --corpus DIR     folder that holds (or will hold) LibriSpeech/train-clean-100/... as published
#   --download BOOL  fetch the missing parts from openslr.org (60 GB in all)
#   --parts "..."    parts to use
set -euo pipefail
corpus=downloads
download=true
parts="train-clean-100 train-clean-360 train-other-500 dev-clean test-clean test-other"
url=https://www.openslr.org/resources/12
recipes=../../../recipes
. "$recipes/lib.sh"
. "$recipes/parse_options.sh"
. "$recipes/path.sh"

read -r -a wanted <<<"$parts"
for part in "${wanted[@]}"; do
  [ ! -d "$corpus/LibriSpeech/$part" ] || continue
  [ "$download" = true ] || die "no $corpus/LibriSpeech/$part: give --corpus the folder above LibriSpeech/"
  log "fetching $part"
  mkdir -p "$corpus"
  curl --fail --location --continue-at - --output "$corpus/$part.tar.gz" "$url/$part.tar.gz" ||
    die "cannot fetch $url/$part.tar.gz: put the unpacked corpus at $corpus/LibriSpeech yourself, then run again"
  rm -rf "$corpus/.$part.tmp" && mkdir "$corpus/.$part.tmp"
  tar -xzf "$corpus/$part.tar.gz" -C "$corpus/.$part.tmp"
  mkdir -p "$corpus/LibriSpeech"
  mv "$corpus/.$part.tmp/LibriSpeech/$part" "$corpus/LibriSpeech/$part"
  rm -rf "$corpus/.$part.tmp" "$corpus/$part.tar.gz"
done
python local/make_data.py "$corpus/LibriSpeech" data "${wanted[@]}"
