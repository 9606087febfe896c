#!/usr/bin/env bash
# Train a network that finds buildings, and score it by height and ground sampling distance. Run by egs/<corpus>/seg1/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 5 fit, 6 export, 7 extract (logits of the test sets), 8 score
#   --nj N                                processes for validate and extract
#   --method sda|noisy|clean|kd|dml       what to train; its steps, each in exp/<name>/<step>:
#       noisy   pretrain on data/train-noisy, selected by data/dev-noisy
#       clean   pretrain on data/train-clean, selected by data/dev, as all others are
#       sda     pretrain as noisy does, then adapt on data/train-clean: all weights go on
#       kd      pretrain a teacher as noisy does, then kd on data/train-clean: a student learns from both
#       dml     pretrain as noisy does, then dml on data/train-clean: that network is the student's peer
#   --step NAME                           one step alone
#   --init DIR                            a model's folder in the place of what pretrain would give sda, kd and dml
#   --config FILE                         of all steps
#   --pretrain_args "--config FILE ..."   options of `audiokd fit` for the first of two steps
#   --fit_args "--run.seed 1 ..."         options of `audiokd fit` for the last step
#   --test_sets "test"                    sets below data/ that are scored
#   --valid_sets "train-noisy ..."        sets below data/ that stage 2 looks at
#   --checkpoint best|last                what is exported of every step
#   --exp DIR                             where
#   --data_args "..."                     passed to local/data.sh
#   --score_args "..."                    passed to `audiokd segments`
#   --device DEVICE                       for extract
#
# Stage 3 has nothing to do: pictures are not packed. Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
method=sda
step=
init=
config=conf/base.yaml
pretrain_args=
fit_args=
test_sets="test"
valid_sets="train-noisy dev-noisy train-clean dev test"
checkpoint=best
exp=
data_args=
score_args=
device=cpu
max_error_rate=0.01

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
read -r -a more_pretrain <<<"$pretrain_args"
[ -n "$exp" ] || exp=exp/$method
case "$method" in
  noisy | clean) steps=(pretrain) ;;
  sda) steps=(pretrain adapt) ;;
  kd | dml) steps=(pretrain "$method") ;;
  *) die "--method is sda, noisy, clean, kd or dml, not '$method'" ;;
esac
[ -z "$step" ] || [[ " ${steps[*]} " = *" $step "* ]] || die "the steps of $method are ${steps[*]}, not $step"
final=${steps[-1]}
if [ -n "$init" ]; then
  [ "$final" != pretrain ] || die "--init is for sda, kd and dml: $method begins with an encoder's weights"
  steps=("$final")
fi

read -r -a valid <<<"$valid_sets"
data_stages "${valid[@]}"

printf -v tested ',data/%s' "${tests[@]}"
tested="[${tested:1}]" # none of these is learnt from

fit() { # step, run folder, training set, validation set, options: train, and export where that is not there
  log "stage 5: fit building_sda, $1 in $2"
  "${train_prefix[@]}" audiokd fit building_sda --step "$1" --config "$config" --exp_dir "$2" \
    --train "data/$3" --dev "data/$4" --data.test "$tested" "${@:5}"
}

export_run() { # run folder, model folder
  [ -e "$2/config.json" ] || audiokd export "$1" "$2" --checkpoint "$checkpoint"
}

for s in "${steps[@]}"; do
  if [ -n "$step" ] && [ "$step" != "$s" ]; then
    continue
  fi
  run=$exp/$s
  before=${init:-$exp/pretrain/export-$checkpoint}
  if in_range fit; then
    case "$s" in
      pretrain)
        sets=(train-noisy dev-noisy)
        [ "$method" != clean ] || sets=(train-clean dev)
        if [ "$final" = pretrain ]; then
          fit pretrain "$run" "${sets[@]}" "${more_fit[@]}"
        else
          fit pretrain "$run" "${sets[@]}" "${more_pretrain[@]}"
          export_run "$run" "$before"
        fi
        ;;
      adapt) fit adapt "$run" train-clean dev --model.encoder "" --model.weights "" --model.init "$before" "${more_fit[@]}" ;;
      kd) fit kd "$run" train-clean dev --teacher.model "$before" "${more_fit[@]}" ;;
      dml) fit dml "$run" train-clean dev --peer.init "$before" "${more_fit[@]}" ;;
    esac
  fi
done
if [ -z "$step" ] || [ "$step" = "$final" ]; then
  run=$exp/$final
  if in_range export; then
    log "stage 6: export $run"
    export_run "$run" "$run/export-$checkpoint"
  fi
  for t in "${tests[@]}"; do
    if in_range extract; then
      log "stage 7: extract logits of data/$t"
      audiokd extract "$run/export-$checkpoint" "data/$t" "$run/$checkpoint-$t-logits" --layer logits --dtype float16 \
        --nj "$nj" --device "$device"
    fi
    if in_range score; then
      log "stage 8: score data/$t"
      audiokd segments "$run/$checkpoint-$t-logits" --data "data/$t" --out "$run/$checkpoint-$t.json" \
        --system "$method" "${more_score[@]}"
    fi
  done
fi
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload $exp/$final/export-$checkpoint by huggingface-cli"
