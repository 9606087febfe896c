#!/usr/bin/env bash
# What students begin as, in exp/ears/export: an ATST-Frame that was not pretrained.
set -euo pipefail
audiokd fit atst --config conf/ears.yaml --train data/train --dev data/dev --exp_dir exp/ears
[ -e exp/ears/export/config.json ] || audiokd export exp/ears exp/ears/export --checkpoint init
