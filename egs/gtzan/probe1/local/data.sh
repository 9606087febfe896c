#!/usr/bin/env bash
# GTZAN as published, its fault-filtered lists and its beats. Writes data/genre/{train,dev,test}, and data/beats with utt2beats.
#   --corpus FOLDER   above genres/ (or genres_original/, or Data/genres_original/)
#   --lists FOLDER    of train_filtered.txt, valid_filtered.txt, test_filtered.txt; the corpus folder if left out
#   --beats FOLDER    of gtzan_blues_00000.beats ...; gtzan_tempo_beat/beats in the corpus folder if left out; none: no beats
set -euo pipefail
corpus=downloads
lists=
beats=
. ../../../recipes/lib.sh
read_options "$@"

genres=
for name in Data/genres_original genres_original genres; do
  [ ! -d "$corpus/$name" ] || genres=$corpus/$name
done
lists=${lists:-$corpus}
beats=${beats:-$corpus/gtzan_tempo_beat/beats}
[ -n "$genres" ] || die "no $corpus/genres: fetch GTZAN (kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification) and give --data_args '--corpus FOLDER', the folder above it"
[ -e "$lists/train_filtered.txt" ] || die "no $lists/train_filtered.txt: fetch it and its two fellows from github.com/coreyker/dnn-mgr (gtzan/) and give --data_args '--corpus FOLDER --lists FOLDER'"
[ "$beats" = none ] || [ -d "$beats" ] || die "no $beats: fetch github.com/TempoBeatDownbeat/gtzan_tempo_beat and give --data_args '--corpus FOLDER --beats FOLDER', or '--beats none' for genre alone"
python local/make_data.py "$genres" "$lists" "$beats" data
