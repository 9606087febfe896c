#!/usr/bin/env bash
# LibriSpeech to data/{train_960,dev_clean,test_clean,test_other}.
#   --corpus DIR     folder that holds (or will hold) LibriSpeech/train-clean-100/... as published
#   --download BOOL  fetch the missing parts from openslr.org (60 GB in all)
#   --parts A,B,...  parts to use
set -euo pipefail
corpus=downloads
download=true
parts=train-clean-100,train-clean-360,train-other-500,dev-clean,test-clean,test-other
url=https://www.openslr.org/resources/12
. ../../../recipes/lib.sh
read_options "$@"

declare -A sums=( # sha256, as torchaudio has them
  [train-clean-100]=d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2
  [train-clean-360]=146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf
  [train-other-500]=ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2
  [dev-clean]=76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3
  [dev-other]=12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365
  [test-clean]=39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23
  [test-other]=d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29
)
IFS=', ' read -r -a wanted <<<"$parts"
for part in "${wanted[@]}"; do
  corpus_part "LibriSpeech/$part" "$url/$part.tar.gz" "${sums[$part]-}"
done
python local/make_data.py "$corpus/LibriSpeech" data "${wanted[@]}"
