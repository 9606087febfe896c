#!/usr/bin/env bash
# GiantSteps' two repositories of keys, with the audio that their audio_dl.sh fetches. Writes data/key/{train,dev,test}.
set -euo pipefail
corpus=downloads
. ../../../recipes/lib.sh
read_options "$@"

repository() { # name: the folder of a repository, cloned or unpacked from GitHub's zip of a commit
  local d
  for d in "$corpus/$1" "$corpus/$1"-*; do
    [ ! -d "$d/annotations" ] || { echo "$d" && return; }
  done
  die "no $corpus/$1: fetch github.com/GiantSteps/$1, run its audio_dl.sh and give --data_args '--corpus FOLDER', the folder above it"
}

mtg=$(repository giantsteps-mtg-key-dataset)
key=$(repository giantsteps-key-dataset)
python local/make_data.py "$mtg" "$key" data
