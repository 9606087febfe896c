#!/usr/bin/env bash
# Find boxes in frames of drives: from boxes of all frames, of few, or of few and a point on each object of the others (Point-DETR3D). Run by
# egs/<corpus>/det3d1/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 5 fit, 6 export, 7 extract (boxes of the test sets), 8 score
#   --nj N                                processes for validate
#   --method full|boxes|points            what is learnt from; its steps, each in exp/<name>/<step>:
#       full     labeller on data/train, whose frames all have boxes
#       boxes    labeller on data/train-<rate>: the frames that have boxes alone
#       points   labeller on data/train-<rate>; teacher, points to boxes, of the same frames; its boxes of all of data/train-<rate>;
#                student of the true boxes and of those
#   --rate 05                             which data/train-<rate>
#   --step NAME                           one step alone
#   --config FILE                         of all steps
#   --labeller_args, --teacher_args "..." options of `audiokd fit` for the first two steps of points
#   --fit_args "--run.seed 1 ..."         options of `audiokd fit` for the last step
#   --truth train                         set below data/ with all boxes that the teacher's are held against; "" where there is none
#   --test_sets "test"                    sets below data/ that are scored
#   --valid_sets "train dev test"         sets below data/ that stage 2 looks at, besides data/train-<rate>
#   --checkpoint best|last                what is exported of every step
#   --exp DIR                             where
#   --run DIR                             run that stages 6 to 8 are of, such as a grid's: exp/grid/<cell>-<seed>-<hash>/point_detr3d; the last step's
#                                         in EXP by default
#   --data_args "..."                     passed to local/data.sh
#   --score_args "..."                    passed to `audiokd boxes`
#   --turns "15 45 90"                    degrees that the test scenes are turned by before the last step's model sees them, each scored, and so are
#                                         the scenes as they are, within the circle of --within_m; "" turns none
#   --within_m 25.6                       radius of the range's inner circle, which every turn leaves in it
#   --device DEVICE                       for detect3d
#
# Stages 3 and 4 have nothing to do. Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
method=points
rate=05
step=
config=conf/base.yaml
labeller_args=
teacher_args=
fit_args=
truth=train
test_sets="test"
valid_sets="train dev test"
checkpoint=best
exp=
run=
data_args=
score_args=
turns=
within_m=25.6
device=cpu
max_error_rate=0.01

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
read -r -a more_labeller <<<"$labeller_args"
read -r -a more_teacher <<<"$teacher_args"
train=train-$rate
case "$method" in
  full)
    steps=(labeller)
    train=train
    ;;
  boxes) steps=(labeller) ;;
  points) steps=(labeller teacher student) ;;
  *) die "--method is full, boxes or points, not '$method'" ;;
esac
if [ -z "$exp" ]; then
  exp=exp/$method
  [ "$method" = full ] || exp=$exp-$rate
fi
[ -z "$step" ] || [[ " ${steps[*]} " = *" $step "* ]] || die "the steps of $method are ${steps[*]}, not $step"
final=${steps[-1]}
system=$exp
if [ -n "$run" ]; then
  [ -e "$run/config.yaml" ] || die "--run $run: no run of 'audiokd fit' is there"
  [ "$first" -ge 6 ] || die "--run is of stages 6 to 8: give --stage export, or extract"
  system=$run
fi

if in_range data; then
  log "stage 1: data"
  ./local/data.sh "${more_data[@]}"
fi
if in_range validate; then
  read -r -a valid <<<"$valid_sets"
  [ "$train" = train ] || valid+=("$train")
  validate_sets "${valid[@]}"
fi

printf -v tested ',data/%s' "${tests[@]}"
tested="[${tested:1}]" # none of these is learnt from

fit() { # step, options: train in $exp/<step>
  log "stage 5: fit point_detr3d, $1 in $exp/$1"
  "${train_prefix[@]}" audiokd fit point_detr3d --step "$1" --config "$config" --exp_dir "$exp/$1" \
    --train "data/$train" --dev data/dev --data.test "$tested" "${@:2}"
}

export_run() { # run: where that is not there
  [ -e "$1/export-$checkpoint/config.json" ] || audiokd export "$1" "$1/export-$checkpoint" --checkpoint "$checkpoint"
}

pseudo_labels() { # what the teacher makes of the points, and how good it is
  log "stage 5: boxes of data/$train by the teacher"
  audiokd detect3d "$exp/teacher/export-$checkpoint" "data/$train" "$exp/teacher/pseudo" --device "$device" \
    --max_error_rate "$max_error_rate"
  [ -z "$truth" ] || audiokd boxes "$exp/teacher/pseudo" --data "data/$truth" --part "data/$train" \
    --out "$exp/teacher/boxes/$train.json" --pictures "$exp/teacher/boxes/$train" --system "$exp" "${more_score[@]}"
}

turned_scores() { # test set: what the last step's model finds in its scenes turned, all of it within one circle
  local degrees found name=$checkpoint-$1
  for degrees in 0 $turns; do
    found=$run/$name
    if [ "$degrees" != 0 ]; then
      log "stage 8: boxes of data/$1, turned by $degrees degrees"
      found=$run/$name-turn$degrees
      audiokd detect3d "$run/export-$checkpoint" "data/$1" "$found" --device "$device" --max_error_rate "$max_error_rate" \
        --turn_degrees "$degrees"
    fi
    audiokd boxes "$found" --data "data/$1" --out "$run/boxes/$name-turn$degrees.json" --system "$system, turned by $degrees degrees" \
      "${more_score[@]}" --within_m "$within_m"
  done
}

if in_range fit; then
  for s in "${steps[@]}"; do
    [ -z "$step" ] || [ "$step" = "$s" ] || continue
    options=()
    [ "$s" != teacher ] || options+=(--init.model "$exp/labeller/export-$checkpoint" "${more_teacher[@]}")
    [ "$s" != student ] || options+=(--data.pseudo "$exp/teacher/pseudo")
    if [ "$s" = "$final" ]; then
      options+=("${more_fit[@]}")
    elif [ "$s" = labeller ]; then
      options+=("${more_labeller[@]}")
    fi
    fit "$s" "${options[@]}"
    [ "$s" = "$final" ] || export_run "$exp/$s"
    [ "$s" != teacher ] || pseudo_labels
  done
fi
if [ -z "$step" ] || [ "$step" = "$final" ]; then
  run=${run:-$exp/$final}
  if in_range export; then
    log "stage 6: export $run"
    export_run "$run"
  fi
  for t in "${tests[@]}"; do
    if in_range extract; then
      log "stage 7: boxes of data/$t"
      audiokd detect3d "$run/export-$checkpoint" "data/$t" "$run/$checkpoint-$t" --device "$device" --max_error_rate "$max_error_rate"
    fi
    if in_range score; then
      log "stage 8: score data/$t"
      audiokd boxes "$run/$checkpoint-$t" --data "data/$t" --out "$run/boxes/$checkpoint-$t.json" \
        --pictures "$run/boxes/$checkpoint-$t" --system "$system" "${more_score[@]}"
      [ -z "$turns" ] || turned_scores "$t"
    fi
  done
  if in_range score; then
    audiokd report "$run"
  fi
fi
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload $exp/$final/export-$checkpoint by huggingface-cli"
