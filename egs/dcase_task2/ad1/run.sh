#!/usr/bin/env bash
# The same idea for sound: log-mel spectrograms of machines as pictures, DCASE task 2. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/anomaly.sh --kind dbfad \
  --weights timm/resnet34.a1_in1k \
  --categories "fan gearbox bearing slider ToyCar ToyTrain valve" \
  --fit_args "--config dbfad/base" \
  "$@"
