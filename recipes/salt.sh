#!/usr/bin/env bash
# SALT: a teacher that reconstructs, a student that regresses its latents, or V-JEPA's average in its place; then probes. Run by
# egs/<corpus>/salt1/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 3 shard (sound), 5 fit, 6 export, 7 extract, 8 score
#   --kind video|audio                    what the corpus is of; videos are not packed
#   --step teacher|student|ema            one step alone; left out, the teacher and then the student
#   --teacher_config FILE --student_config FILE --ema_config FILE   settings of each step
#   --teacher DIR                         in place of the teacher's export of this folder
#   --fit_args "--run.seed 1 ..."         further options of `audiokd fit salt`, of every step
#   --max_flops N|student                 operations of a whole training in place of run.max_steps, of student (its teacher's training
#                                         within) and ema; `student`, with --step ema: what the exported student took
#   --exp DIR                             where: DIR/<step>
#   --train_set S --dev_set S             folders below data/, without labels
#   --class_tasks "T ..." --tag_tasks "T ..."   of data/T/{train,dev,test}: one label an item, or any number of them
#   --heads "attentive linear knn"        probes of each task; knn of classes alone
#   --extract_args "--dtype float16"      of `audiokd extract`, of all features that are probed
#   --attentive_args "--blocks 3 ..."     of `audiokd probe --head attentive`
#   --checkpoint best|last|init           whose weights are exported and probed; init is the untrained encoder
#   --still "T ..."                       stage 8: a linear probe of data/T/{train,dev,test}, pictures: one frame of each clip, which has to be
#                                         at chance; by --still_model, a folder of timm's
#   --data_args "..."                     passed to local/data.sh
#   --shard_args "--sample_rate 16000"    passed to `audiokd shard`
#   --device DEVICE, --nj N               for extract and score; for validate, shard, extract
#   --max_error_rate R                    share of items that may be bad
#
# Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
kind=video
step=
teacher_config=
student_config=
ema_config=
teacher=
fit_args=
max_flops=
exp=exp/salt1
train_set=train
dev_set=dev
test_sets=
class_tasks=
tag_tasks=
heads="attentive linear knn"
attentive_args=
extract_args=
checkpoint=best
still=
still_model=downloads/lite0
data_args=
shard_args=
score_args=
shard_size=1000
max_error_rate=0.01
device=cpu

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
read -r -a attentive <<<"$attentive_args"
read -r -a more_extract <<<"$extract_args"
case "$kind" in video | audio) ;; *) die "--kind is video or audio, not '$kind'" ;; esac
case "$step" in
  teacher | student | ema) steps=("$step") ;;
  "") steps=(teacher student) ;;
  *) die "--step is teacher, student or ema, not '$step'" ;;
esac
teacher=${teacher:-$exp/teacher/export-best}
case " $fit_args " in *" --max_flops"*) die "--max_flops is an option of this script: of fit_args the teacher would spend it" ;; esac
[ -z "$max_flops" ] || [ "$step" != teacher ] || die "--max_flops is of student and ema; a teacher: --fit_args '--run.max_steps N'"
if [ "$max_flops" = student ]; then
  [ "$step" = ema ] || die "--max_flops student is of --step ema"
  config=$exp/student/export-$checkpoint/config.json
  [ -e "$config" ] || die "no $config: train and export the student first (--step student)"
  max_flops=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["flops"]["total"])' "$config")
fi
corpus=data
[ "$kind" = video ] || corpus=dump

if in_range data; then
  log "stage 1: data"
  ./local/data.sh "${more_data[@]}"
fi
if in_range validate; then
  validate_sets "$train_set" "$dev_set"
fi
if in_range shard && [ "$kind" = audio ]; then
  shard_sets dump "$train_set" "$dev_set"
fi

if in_range fit; then
  for s in "${steps[@]}"; do
    log "stage 5: fit salt --step $s in $exp/$s"
    case $s in
      teacher) config=$teacher_config ;;
      student) config=$student_config ;;
      ema) config=$ema_config ;;
    esac
    [ -n "$config" ] || die "--${s}_config is needed, such as conf/$s.yaml"
    given=(--step "$s" --config "$config")
    [ "$s" != student ] || given+=(--teacher.model "$teacher")
    [ "$s" = teacher ] || [ -z "$max_flops" ] || given+=(--max_flops "$max_flops")
    "${train_prefix[@]}" audiokd fit salt "${given[@]}" --train "$corpus/$train_set" --dev "$corpus/$dev_set" --exp_dir "$exp/$s" \
      "${more_fit[@]}"
    if [ "$s" = teacher ] && [ ! -e "$exp/teacher/export-best/config.json" ]; then # the next step reads it
      audiokd export "$exp/teacher" "$exp/teacher/export-best" --checkpoint best
    fi
  done
fi
if in_range export; then
  for s in "${steps[@]}"; do
    log "stage 6: export $exp/$s"
    [ -e "$exp/$s/export-$checkpoint/config.json" ] || audiokd export "$exp/$s" "$exp/$s/export-$checkpoint" --checkpoint "$checkpoint"
  done
fi

probe_one() { # step task class|tags
  local run=$exp/$1 task=$2 as=$3 layer split head
  local splits="[data/$task/train,data/$task/dev,data/$task/test]"
  if in_range extract; then
    for layer in tokens clip; do
      for split in train dev test; do
        log "stage 7: extract $layer of $task/$split by $run"
        audiokd extract "$run/export-$checkpoint" "data/$task/$split" "$run/features-$checkpoint/$task/$layer/$split" --layer "$layer" \
          --nj "$nj" --device "$device" --max_error_rate "$max_error_rate" "${more_extract[@]}"
      done
    done
  fi
  in_range score || return 0
  for head in $heads; do
    layer=clip
    local more=()
    [ "$head" != attentive ] || { layer=tokens && more=("${attentive[@]}"); }
    [ "$head" != knn ] || [ "$as" = class ] || continue
    log "stage 8: $head probe of $task"
    local stores=$run/features-$checkpoint/$task/$layer
    audiokd probe --train "$stores/train" --dev "$stores/dev" --test "$stores/test" --task "$as" --data "$splits" --head "$head" \
      --device "$device" --out "$run/probes-$checkpoint/$task-$head.json" "${more[@]}" "${more_score[@]}"
  done
}

for s in "${steps[@]}"; do
  for t in $class_tasks; do probe_one "$s" "$t" class; done
  for t in $tag_tasks; do probe_one "$s" "$t" tags; done
  if in_range score; then
    [ ! -e "$exp/$s/metrics.csv" ] || audiokd report "$exp/$s"
  fi
done

if in_range score; then
  for t in $still; do
    log "stage 8: one frame of $t"
    for s in train dev test; do
      audiokd extract "$still_model" "data/$t/$s" "$exp/one_frame/$t/$s" --nj "$nj" --device "$device"
    done
    audiokd probe --train "$exp/one_frame/$t/train" --dev "$exp/one_frame/$t/dev" --test "$exp/one_frame/$t/test" --epochs 30 \
      --data "[data/$t/train,data/$t/dev,data/$t/test]" --device "$device" --out "$exp/one_frame/$t.json"
  done
fi
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload the exported folders by huggingface-cli"
