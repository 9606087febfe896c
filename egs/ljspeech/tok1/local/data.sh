#!/usr/bin/env bash
# LJSpeech 1.1 to data/{train,dev,test}: the last chapter is the test set, the one before it dev.
#   --corpus DIR     folder that holds (or will hold) LJSpeech-1.1/metadata.csv and wavs/ as published
#   --download BOOL  fetch it from keithito.com where it is missing (2.7 GB)
set -euo pipefail
corpus=downloads
download=true
url=https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2
sum=be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5 # sha256, as torchaudio has it
. ../../../recipes/lib.sh
read_options "$@"

corpus_part LJSpeech-1.1 "$url" "$sum"
python local/make_data.py "$corpus/LJSpeech-1.1" data
