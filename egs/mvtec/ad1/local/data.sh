#!/usr/bin/env bash
# MVTec AD in its layout, FOLDER/<category>/{train,test,ground_truth}, or another set of fabrics. Writes data/{train,test} and
# data/test-<category> for each.
#   --corpus FOLDER      above the categories
#   --set NAME           mvtec, or the industrial textile set, which has its layout; aitex; tilda
#   --categories "A B"   of mvtec: which; left out, all
#   --tile N             cut pictures into tiles of N pixels at half overlap: AITEX' are 4096 x 256
set -euo pipefail
corpus=downloads/mvtec_anomaly_detection
set=mvtec
categories=
tile=0
. ../../../recipes/lib.sh
read_options "$@"

python local/make_data.py "$set" "$corpus" data "$tile" "$categories"
