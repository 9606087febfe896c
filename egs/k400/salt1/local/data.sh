#!/usr/bin/env bash
# Lists of videos (`path label` a line, Kinetics' own tables, Something-Something's JSON), or folders with a folder a class. Writes data/{train,dev} without labels and data/k400/{train,dev,test}.
#   --train FILE|DIR, --test FILE|DIR   lists, or folders; dev is a share of train
#   --videos DIR                        what relative paths of lists are below, and where files of tables are found
#   --name NAME                         of the task, data/NAME: ssv2 for Something-Something v2
set -euo pipefail
train=downloads/train.csv
test=downloads/val.csv
videos=
name=k400
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$train" ] || die "no $train: give --data_args '--train train.csv --test val.csv --videos FOLDER', or folders with a folder a class"
python local/make_data.py "$train" "$test" "$videos" data "$name"
