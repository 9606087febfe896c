#!/usr/bin/env bash
# The classifier of drums, in exp/judge: an ATST that was not pretrained, fine-tuned on the training drums.
set -euo pipefail
audiokd fit atst --config conf/ears.yaml --train data/train --dev data/dev --exp_dir exp/ears
[ -e exp/ears/export/config.json ] || audiokd export exp/ears exp/ears/export --checkpoint init
audiokd fit classifier --config conf/judge.yaml --model.encoder exp/ears/export --train data/train --dev data/dev --exp_dir exp/judge
[ -e exp/judge/export/config.json ] || audiokd export exp/judge exp/judge/export --checkpoint best
