#!/usr/bin/env bash
# Talking Models: train a teacher, then a student that talks with it or is taught in another way, and score the student alone.
# Run by egs/<corpus>/talk1/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 5 fit, 6 export, 7 extract (logits of the test sets), 8 score
#   --kind base|alone|kd|dkd|hints|modules   how the student is taught: packaged config of talking_models; alone has no teacher
#   --teacher NAME                        folder or hub id of a model of the classes (or of ratings); else it is trained in exp/teacher;
#                                         none where no loss needs one: --kind alone, or modules with --fit_args "... --loss.kd 0"
#   --teacher_args "--config FILE ..."    options of `audiokd fit talking_models` for the teacher
#   --fit_args "--config FILE ..."        options for the student
#   --train "train", --dev "dev"          sets below data/ that the student learns from and is selected by
#   --teacher_train "teacher"             set that the teacher learns from
#   --teacher_dev "dev"                   set that it is selected by
#   --teacher_checkpoint last             what is exported of that teacher: last, or best on that set
#   --test_sets "test"                    sets that are scored
#   --valid_sets "train dev test"         sets that stage 2 looks at; none of ratings
#   --scores classify|ratings             what the student is scored by
#   --checkpoint "best"                   what is exported of the student and scored: last, best or both
#   --exp DIR                             of the student, in the place of exp/<kind>
#   --max_error_rate 0.01                 share of a set that may be unreadable in stage 2
#   --data_args "..."                     passed to local/data.sh
#   --score_args "..."                    passed to `audiokd classify` or `audiokd ratings`
#   --device DEVICE                       for extract
#
# Stage 3 has nothing to do. Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
kind=base
teacher=
teacher_args=
fit_args=
train=train
dev=dev
teacher_train=teacher
teacher_dev=dev
teacher_checkpoint=last
test_sets="test"
valid_sets="train dev test"
scores=classify
checkpoint="best"
exp=
data_args=
score_args=
device=cpu
max_error_rate=0.01

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
read -r -a more_teacher <<<"$teacher_args"
read -r -a checkpoints <<<"$checkpoint"
[ ${#checkpoints[@]} -gt 0 ] || die "--checkpoint is needed: last, best, or both"
case "$kind" in
  base | alone | kd | dkd | hints | modules) ;;
  *) die "--kind is base, alone, kd, dkd, hints or modules, not '$kind'" ;;
esac
case "$kind $teacher" in
  "alone " | "alone none") teacher=none ;;
  alone*) die "--kind alone has no teacher: leave out --teacher $teacher" ;;
  "modules none") ;;
  *" none") die "--kind $kind needs a teacher: --teacher none is of alone, and of modules with --fit_args '... --loss.kd 0'" ;;
esac
case "$scores" in
  classify | ratings) ;;
  *) die "--scores is classify or ratings, not '$scores'" ;;
esac
case "$teacher_checkpoint" in
  last | best) ;;
  *) die "--teacher_checkpoint is last or best, not '$teacher_checkpoint'" ;;
esac
run=${exp:-exp/$kind}
printf -v tested ',data/%s' "${tests[@]}"
tested="[${tested:1}]" # neither learns from these

read -r -a valid <<<"$valid_sets"
data_stages "${valid[@]}"

fit() { # run folder, packaged config, options: train
  log "stage 5: fit talking_models in $1"
  "${train_prefix[@]}" audiokd fit talking_models --exp_dir "$1" --config "talking_models/$2" --data.test "$tested" "${@:3}"
}

export_run() { # run folder, checkpoint, model folder: where it is not there
  [ -e "$3/config.json" ] || audiokd export "$1" "$3" --checkpoint "$2"
}

if in_range fit; then
  taught=()
  if [ "$teacher" != none ]; then
    if [ -z "$teacher" ]; then
      fit exp/teacher alone --train "data/$teacher_train" --dev "data/$teacher_dev" "${more_teacher[@]}"
      export_run exp/teacher "$teacher_checkpoint" exp/teacher/export
    fi
    taught=(--teacher.model "${teacher:-exp/teacher/export}")
  fi
  fit "$run" "$kind" --train "data/$train" --dev "data/$dev" "${taught[@]}" "${more_fit[@]}"
fi
for c in "${checkpoints[@]}"; do
  model=$run/export-$c
  if in_range export; then
    log "stage 6: export $run, $c"
    export_run "$run" "$c" "$model"
  fi
  for t in "${tests[@]}"; do
    name=${t//\//-}
    if [ "$scores" = ratings ]; then
      if in_range score; then
        log "stage 8: score data/$t"
        audiokd ratings "$model" "data/$t" --out "$run/$c-$name.json" "${more_score[@]}"
      fi
      continue
    fi
    if in_range extract; then
      log "stage 7: extract logits of data/$t"
      audiokd extract "$model" "data/$t" "$run/$c-$name-logits" --layer logits --nj "$nj" --device "$device"
    fi
    if in_range score; then
      log "stage 8: score data/$t"
      audiokd classify "$run/$c-$name-logits" --data "[data/$t]" --out "$run/$c-$name.json" "${more_score[@]}"
    fi
  done
done
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload $run/export-${checkpoints[0]} by huggingface-cli"
