#!/usr/bin/env bash
# Distil a diffusion model of pictures or sounds to a few steps, and score what it makes. Run by egs/<corpus>/tiue1/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 5 fit, 6 export, 7 generate (for the test sets), 8 score
#   --kind tiue|swiftbrush|lcm|teacher    what to train: pretrain in exp/teacher on data/train, then distill in exp/<kind> from its export;
#                                         swiftbrush is tiue's case of one step, lcm learns from data/train too; teacher: pretrain alone,
#                                         or with --teacher NAME nothing: that one is sampled and scored
#   --step pretrain|distill               one of the two alone
#   --teacher NAME                        in the place of pretrain: folder, or hub id of a Stable Diffusion or AudioLDM
#   --prompts NAME                        what tiue and swiftbrush learn from: labels or captions of a data dir, or a file of prompts
#   --teacher_args "--config FILE ..."    options of `audiokd fit tiue --step pretrain`
#   --fit_args "--config FILE ..."        options of `audiokd fit tiue --step distill`; by default the configuration of the task,
#                                         conf/lcm.yaml of lcm, conf/tiue.yaml of tiue and swiftbrush
#   --checkpoint last|best                what is exported
#   --generate_args "--steps 4 ..."       passed to `audiokd generate`
#   --trajectory_args "..."               passed to `audiokd trajectory`: how the teacher's features change, for the page
#   --encoder NAME                        whose features are compared; that of local/judge.sh, exp/judge/export, where there is one
#   --classifier NAME                     who is asked for the class: the same
#   --test_sets "test"                    sets below data/: their labels or captions are what is generated, they are what it is compared with
#   --valid_sets "train dev test"         sets below data/ that stage 2 looks at
#   --exp DIR                             of the run, in the place of exp/<kind> (of pretrain: of exp/teacher)
#   --data_args "..."                     passed to local/data.sh
#   --score_args "..."                    passed to `audiokd fidelity`
#   --nj N, --device DEVICE               for validate, generate and score
#
# Stage 3 has nothing to do. Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
kind=tiue
step=
teacher=
prompts=data/train
teacher_args=
fit_args=
checkpoint=last
generate_args=
trajectory_args=
encoder=
classifier=
test_sets="test"
valid_sets="train dev test"
exp=
data_args=
score_args=
device=cpu
max_error_rate=0.01

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
read -r -a more_teacher <<<"$teacher_args"
read -r -a more_generate <<<"$generate_args"
read -r -a more_trajectory <<<"$trajectory_args"
case "$kind" in
  tiue | swiftbrush | lcm | teacher) ;;
  *) die "--kind is tiue, swiftbrush, lcm or teacher, not '$kind'" ;;
esac
case "$step" in
  "" | pretrain | distill) ;;
  *) die "the steps of tiue are pretrain and distill, not $step" ;;
esac
[ "$kind" != teacher ] || [ "$step" != distill ] || die "--kind teacher has no step distill"
[ "$step" != pretrain ] || [ -z "$teacher" ] || die "--teacher NAME is trained already: leave --step pretrain out"
run=${exp:-exp/$kind}
pretrained=exp/teacher
if [ "$kind" = teacher ] || [ "$step" = pretrain ]; then
  pretrained=${exp:-exp/teacher}
  run=$pretrained
fi
model=$run/export
if [ "$kind" = teacher ]; then
  model=${teacher:-$model}
fi
if [ -z "$fit_args" ]; then
  own=conf/tiue.yaml
  [ "$kind" != lcm ] || own=conf/lcm.yaml
  [ ! -e "$own" ] || more_fit=(--config "$own")
fi
if [ "$kind" = swiftbrush ]; then # configurations are of 4 steps
  more_fit+=(--distill.steps 1 --distill.timestep_spacing trailing)
fi
if [ -x local/judge.sh ]; then
  judge=exp/judge/export
  encoder=${encoder:-$judge}
  classifier=${classifier:-$judge}
fi

read -r -a valid <<<"$valid_sets"
data_stages "${valid[@]}"

fit() { # run folder, options: train
  log "stage 5: fit tiue in $1"
  "${train_prefix[@]}" audiokd fit tiue --exp_dir "$1" "${@:2}"
}

export_run() { # run folder: where it is not there
  [ -e "$1/export/model_index.json" ] || audiokd export "$1" "$1/export" --checkpoint "$checkpoint"
}

if in_range fit; then
  if [ -x local/judge.sh ]; then
    log "stage 5: the judge, in exp/judge"
    ./local/judge.sh
  fi
  if [ -z "$teacher" ] && [ "$step" != distill ]; then
    fit "$pretrained" --step pretrain --train data/train --dev data/dev "${more_teacher[@]}"
    export_run "$pretrained"
  fi
  if [ "$run" != "$pretrained" ]; then
    given=("$prompts" "$prompts")
    [ "$kind" != lcm ] || given=(data/train data/dev)
    fit "$run" --step distill --distill.kind "$kind" --distill.teacher "${teacher:-$pretrained/export}" \
      --train "${given[0]}" --dev "${given[1]}" "${more_fit[@]}"
  fi
fi
if in_range export; then
  if [ "$model" = "$run/export" ]; then
    log "stage 6: export $run"
    export_run "$run"
  fi
  [ -e "$run/trajectory.csv" ] ||
    audiokd trajectory "${teacher:-$pretrained/export}" "data/${tests[0]}" "$run/trajectory.csv" --device "$device" "${more_trajectory[@]}"
fi
for t in "${tests[@]}"; do
  if in_range extract; then
    log "stage 7: generate for data/$t"
    audiokd generate "$model" "data/$t" "$run/generated/$t" --device "$device" "${more_generate[@]}"
  fi
  if in_range score; then
    log "stage 8: score data/$t"
    judged=(--encoder "$encoder")
    [ -z "$classifier" ] || judged+=(--classifier "$classifier")
    audiokd fidelity "$run/generated/$t" "data/$t" --out "$run/fidelity/$t.json" --system "${run#exp/}" \
      "${judged[@]}" --nj "$nj" --device "$device" "${more_score[@]}"
    [ ! -e "$run/config.yaml" ] || audiokd report "$run" # --teacher NAME is no run
  fi
done
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload $run/export by huggingface-cli"
