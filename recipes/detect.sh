#!/usr/bin/env bash
# Fine-tune an encoder for sound events, from strong, weak and unlabelled clips, alone or taught (C2F, F2C), and score it.
# Run by egs/<corpus>/<task>/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 4 targets (intervals of --points), 5 fit, 6 export, 7 extract (frame
#                                         logits of dev and test), 8 score
#   --nj N                                processes for validate, extract
#   --train_set S --dev_set S             folders below data/: clips with events.tsv, utt2label, or neither; dev's all with events
#   --points S                            folder below data/ with points on all events and events of a few clips: stage 4 trains a teacher
#                                         on it in EXP/teacher, or takes `--teacher fixed`, and writes data/TRAIN_SET of its intervals
#   --teacher_args "--config FILE ..."    options of `audiokd fit point_sed`
#   --test_sets "S ..."                   folders below data/ with events.tsv
#   --encoder DIR                         the pretrained encoder: ours, or one of transformers' (README: teachers); stage 4 runs local/encoder.sh,
#                                         where there is one, to make it
#   --teachers "DIR ..."                  fine-tuned detectors of the same labels
#   --config FILE                         settings of the detector
#   --fit_args "--run.seed 1 ..."         further options of `audiokd fit`
#   --exp DIR                             where
#   --data_args "..."                     passed to local/data.sh
#   --score_args "..."                    passed to `audiokd detect`
#   --max_error_rate R                    share of utterances that may be bad
#   --device DEVICE                       for extract
#
# Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
train_set=train
dev_set=dev
points=
teacher=
teacher_args=
test_sets="test"
encoder=
teachers=
config=detector/desed
fit_args=
exp=exp/detector
data_args=
score_args=
max_error_rate=0.01
device=cpu

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
[ -n "$encoder" ] || die "--encoder is needed: a pretrained model, ours or one of transformers'"

read -r -a more_teacher <<<"$teacher_args"

data_stages "${points:-$train_set}" "$dev_set" "${tests[@]}"

if in_range targets; then
  [ ! -x local/encoder.sh ] || ./local/encoder.sh
  if [ -n "$points" ] && [ -z "$teacher" ]; then
    log "stage 4: points of data/$points to intervals, by a teacher in $exp/teacher"
    teacher=$exp/teacher/export
    audiokd fit point_sed --train "data/$points" --dev "data/$dev_set" --exp_dir "$exp/teacher" "${more_teacher[@]}"
    audiokd export "$exp/teacher" "$teacher" --checkpoint best
  fi
  if [ -n "$points" ]; then
    audiokd intervals "$teacher" "data/$points" "data/$train_set" --max_error_rate "$max_error_rate"
  fi
fi

if in_range fit; then
  log "stage 5: fit detector in $exp"
  options=(--config "$config" --model.encoder "$encoder" --train "data/$train_set" --dev "data/$dev_set")
  options+=(--data.events "[data/$train_set,data/$dev_set]")
  printf -v tested ',data/%s' "${tests[@]}"
  options+=(--data.test "[${tested:1}]") # neither learns from these nor is selected by them
  [ ! -e "data/$train_set/utt2label" ] || options+=(--data.labels "[data/$train_set]")
  [ -z "$teachers" ] || options+=(--teachers.models "[${teachers// /,}]")
  "${train_prefix[@]}" audiokd fit detector "${options[@]}" --exp_dir "$exp" "${more_fit[@]}"
fi

if in_range export; then
  log "stage 6: export $exp/export"
  audiokd export "$exp" "$exp/export"
fi

if in_range extract; then
  for s in "$dev_set" "${tests[@]}"; do
    log "stage 7: extract events of data/$s"
    audiokd extract "$exp/export" "data/$s" "$exp/events/$s" --layer events --nj "$nj" --device "$device"
  done
fi

if in_range score; then
  for s in "${tests[@]}"; do
    log "stage 8: score $s, each label's threshold chosen on $dev_set"
    audiokd detect "$exp/events/$s" --data "[data/$s]" --dev "$exp/events/$dev_set" --dev_data "[data/$dev_set]" \
      --out "$exp/detected/$s.json" --events "$exp/detected/$s.tsv" "${more_score[@]}"
  done
  audiokd report "$exp"
fi
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload $exp/export by huggingface-cli"
