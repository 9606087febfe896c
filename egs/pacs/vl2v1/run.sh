#!/usr/bin/env bash
# VL2V-ADiP on PACS, one domain left out at a time: CLIP ViT-B/16 as a black box, an ImageNet ViT-B/16 as student. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

student="--model.backbone vit_base_patch16_224.augreg_in21k_ft_in1k --model.weights timm/vit_base_patch16_224.augreg_in21k_ft_in1k"
exec ../../../recipes/kd.sh --method vl2v \
  --pair openai/clip-vit-base-patch16 \
  --leave_out "art_painting cartoon photo sketch" \
  --teacher_args "--config vl2v/base $student" \
  --fit_args "--config vl2v/base" \
  --valid_sets all \
  --checkpoint "last best swad" \
  "$@"
