#!/usr/bin/env bash
# emoMusic as published: the csv files of annotations.tar.gz, in the corpus folder or in annotations/ below it, and
# clips_45seconds/<song id>.mp3. Writes data/emotion/{train,dev,test}.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

annotations=$corpus
[ ! -e "$corpus/annotations/songs_info.csv" ] || annotations=$corpus/annotations
for name in "$annotations/songs_info.csv" "$corpus/clips_45seconds"; do
  [ -e "$name" ] || die "no $name: fetch emoMusic (cvml.unige.ch/databases/emoMusic) and give --data_args '--corpus FOLDER'"
done
python local/make_data.py "$annotations" "$corpus/clips_45seconds" data
