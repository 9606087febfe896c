#!/usr/bin/env bash
# Fine-tune an encoder on labelled clips, alone or taught by models that were fine-tuned before (ATST-C2F), and score it.
# Run by egs/<corpus>/<task>/finetune.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 5 fit, 6 export, 7 extract (logits of the test set), 8 score
#   --nj N                                processes for extract
#   --task NAME                           data/NAME/{train,dev,test} with utt2label; or data/NAME with utt2fold, see --folds
#   --labels class|tags                   one label an utterance, or any number
#   --folds true                          cross-validate by utt2fold: each fold is tested once, by a model that is chosen on the
#                                         next fold and trained on the others
#   --encoder DIR                         the pretrained encoder: ours, or one of transformers' (README: teachers)
#   --teachers "DIR ..."                  fine-tuned models of the same labels; %fold stands for the fold's number
#   --config FILE                         settings of the classifier
#   --fit_args "--run.seed 1 ..."         further options of `audiokd fit`
#   --exp DIR                             where
#   --data_args "..."                     passed to local/data.sh
#   --score_args "..."                    passed to `audiokd classify`
#   --device DEVICE                       for extract
#
# Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
task=
labels=class
folds=false
encoder=
teachers=
config=
fit_args=
exp=
data_args=
score_args=
test_sets=
device=cpu

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
[ -n "$task" ] || die "--task is needed: a folder below data/"
[ -n "$encoder" ] || die "--encoder is needed: a pretrained model, ours or one of transformers'"
[ -n "$exp" ] || exp=exp/finetune-$task

data_stage

options=(--model.encoder "$encoder" --model.task "$labels")
[ -z "$config" ] || options+=(--config "$config")

one_model() { # data folder, run folder, fold: fit, export, and the test set's logits
  local data=$1 run=$2 taught=${teachers//%fold/$3}
  local more=("${options[@]}" --data.labels "[$data/train,$data/dev]")
  [ -z "$taught" ] || more+=(--teachers.models "[${taught// /,}]")
  if in_range fit; then
    log "stage 5: fit classifier in $run"
    "${train_prefix[@]}" audiokd fit classifier "${more[@]}" --train "$data/train" --dev "$data/dev" --exp_dir "$run" "${more_fit[@]}"
  fi
  if in_range export; then
    log "stage 6: export $run/export"
    audiokd export "$run" "$run/export"
  fi
  if in_range extract; then
    log "stage 7: extract logits of $data/test"
    audiokd extract "$run/export" "$data/test" "$run/logits" --layer logits --nj "$nj" --device "$device"
  fi
}

stores=
if [ "$folds" = true ]; then
  mapfile -t names < <(cut -d ' ' -f 2 "data/$task/utt2fold" | sort -u)
  [ ${#names[@]} -ge 3 ] || die "data/$task/utt2fold has ${#names[@]} folds: one is tested, one chooses, and the others train"
  for k in "${!names[@]}"; do
    fold=${names[k]} next=${names[(k + 1) % ${#names[@]}]}
    data=data/$task-fold-$fold
    for part in train dev test; do
      [ ! -e "$data/$part" ] || continue
      awk -v fold="$fold" -v next_fold="$next" -v part="$part" \
        '{ is = $2 == fold ? "test" : $2 == next_fold ? "dev" : "train" } is == part { print $1 }' \
        "data/$task/utt2fold" | subset_data "data/$task" "$data/$part"
    done
    one_model "$data" "$exp/fold-$fold" "$fold"
    stores+=${stores:+,}$exp/fold-$fold/logits
  done
  truth=data/$task
else
  one_model "data/$task" "$exp" ""
  stores=$exp/logits truth=data/$task/test
fi

if in_range score; then
  log "stage 8: score $task"
  audiokd classify "[$stores]" --data "[$truth]" --out "$exp/classified/$task.json" "${more_score[@]}"
  [ "$folds" = true ] || audiokd report "$exp"
fi
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload $exp/export by huggingface-cli"
