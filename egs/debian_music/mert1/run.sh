#!/usr/bin/env bash
# MERT on music from Debian packages: an RVQ-VAE and a CQT teach, and seven probes. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../../recipes/pretrain.sh \
  --method mert \
  --config conf/mert.yaml \
  --codec conf/codec.yaml \
  --exp exp/mert \
  --class_tasks "drums samples tracks pitch family chord" \
  --key_tasks "key" \
  --score_args "--head mlp" \
  "$@"
