#!/usr/bin/env bash
# The classifier whose features and answers judge what is generated, in exp/judge.
set -euo pipefail
audiokd fit vl2v --config conf/judge.yaml --train data/train --dev data/dev --exp_dir exp/judge
[ -e exp/judge/export/config.json ] || audiokd export exp/judge exp/judge/export --checkpoint best
