#!/usr/bin/env bash
# MovieLens 100K as RecBole's package brings it (2 MB), or a release that is there. Writes data/teacher, data/teacher-dev (all genres),
# data/train, data/dev, data/test (one genre) and downloads/.
#   --corpus FOLDER   u.data and u.item (100K), or ratings.dat and movies.dat (1M), in the place of the package
#   --genre NAME      of the student
set -euo pipefail
corpus=
genre=Sci-Fi
. ../../../recipes/lib.sh
read_options "$@"

if [ -z "$corpus" ]; then
  corpus=downloads
  python -m audiokd.data.fetch pypi recbole 1.2.1 --out downloads \
    --sha256 9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407 \
    recbole/dataset_example/ml-100k/ml-100k.inter recbole/dataset_example/ml-100k/ml-100k.item
fi
python local/make_data.py "$corpus" data "$genre"
