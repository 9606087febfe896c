#!/usr/bin/env bash
# Train a speech language model on token stores and score it. Run by egs/<corpus>/slm1/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data (the stores, by local/data.sh), 5 fit, 6 export, 8 decode (and score);
#                                         9 publish: the stores as a Hugging Face dataset. There is nothing in 2, 3, 4, 7
#   --tokens DIR                          folder of the stores, one a set
#   --tokenizer DIR                       the model that made them; empty: no sound is made
#   --config FILE                         settings of the method
#   --fit_args "--run.seed 1 ..."         further options of `audiokd fit`
#   --exp DIR                             where
#   --train_set S --dev_set S --test_sets "S ..."   folders below --tokens
#   --asr DIR|HUB_ID --language CODE      ASR that reads what is spoken (empty: none), and the language
#   --teacher DIR|HUB_ID                  what taught the tokenizer: rates by that same ASR are headed teacher-scored
#   --score_args "..."                    passed to `audiokd slm`
#   --data_args "..."                     passed to local/data.sh
#   --bpe N                               vocabulary of the dataset's BPE, 0 for none
#
# Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
tokens=
tokenizer=
config=speech_lm/small
fit_args=
exp=exp/slm1
train_set=train
dev_set=dev
test_sets="test"
asr=
teacher=
language=
score_args=
data_args=
bpe=0
device=cpu

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
[ -n "$tokens" ] || die "--tokens is needed: the folder of the token stores"

if in_range data; then
  log "stage 1: data: the token stores in $tokens"
  ./local/data.sh "${more_data[@]}"
fi

if in_range fit; then
  log "stage 5: fit speech_lm in $exp"
  "${train_prefix[@]}" audiokd fit speech_lm --config "$config" --train "$tokens/$train_set" --dev "$tokens/$dev_set" \
    --exp_dir "$exp" "${more_fit[@]}"
fi

if in_range export; then
  log "stage 6: export $exp/export"
  audiokd export "$exp" "$exp/export"
fi

if in_range decode; then
  sound=()
  [ -z "$tokenizer" ] || sound=(--tokenizer "$tokenizer")
  [ -z "$asr" ] || sound+=(--asr "$asr")
  [ -z "$asr" ] || [ -z "$teacher" ] || sound+=(--teacher "$teacher")
  for s in "${tests[@]}"; do
    log "stage 8: speak, transcribe and score $s"
    audiokd slm "$exp/export" "$tokens/$s" --out "$exp/scores/$s.json" --language "$language" --device "$device" \
      "${sound[@]}" "${more_score[@]}"
    audiokd report "$exp" --set "$s"
  done
fi

if in_range publish; then
  log "stage 9: the stores as a Hugging Face dataset in $exp/dataset; upload it by huggingface-cli"
  audiokd store export "$tokens" "$exp/dataset" --to hf --bpe "$bpe"
fi
