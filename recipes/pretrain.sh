#!/usr/bin/env bash
# Pretrain an encoder of sound and probe what its features know. Run by egs/<corpus>/ssl1/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 3 shard, 4 targets, 5 fit, 6 export, 7 extract,
#                                         8 score (a linear probe a task, report); 9 publish is a later release's
#   --nj N                                processes for validate, shard, extract
#   --config FILE                         settings of the method
#   --fit_args "--run.seed 1 ..."         further options of `audiokd fit`
#   --method NAME  --exp DIR              what to train, where
#   --train_set S --dev_set S             folders below data/, without labels
#   --class_tasks "T ..." --tag_tasks "T ..." --frame_tasks "T ..."   of data/T/{train,dev,test}: one label an utterance, any
#                                         number of them (utt2label), or a label a frame (phones.ctm)
#   --key_tasks "T ..." --value_tasks "T ..."   of data/T/{train,dev,test}: musical keys, numbers; with --score_args "--head mlp"
#   --beat_tasks "T ..."                  of data/T/{train,dev,test}, with utt2beats; with --score_args "--head mlp"
#   --separation_tasks "T ..."            of data/T/{train,dev,test}, mixtures with a file of each of --sources beside them
#   --sources "vocals ..."                vocals.scp and so on; each is asked for by itself
#   --fold_tasks "T ..."                  of data/T, not split: one label an utterance, cross-validated by its utt2fold
#   --codec FILE                          of mert: stage 4 trains an RVQ-VAE by these settings, and its codes are learnt
#   --kmeans "300,200"                    of mert: stage 4 clusters log-mel and chroma frames, and their numbers are learnt
#   --clip_layer clip                     of which layers a clip's features are: clip, all; clip1, clip2, ..., the last so many
#   --checkpoint best|last|init           which weights are exported, extracted and probed; init is the untrained model
#   --model DIR                           probe this encoder: nothing is trained, stages 2 to 6 do nothing
#   --data_args "..."                     passed to local/data.sh
#   --shard_args "--sample_rate 16000"    passed to `audiokd shard`
#   --score_args "..."                    passed to `audiokd probe`
#   --device DEVICE                       for targets, extract and score
#   --max_error_rate R                    share of utterances that may be bad
#
# Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
config=
fit_args=
method=atst
exp=exp/ssl1
train_set=train
dev_set=dev
test_sets=
class_tasks=
tag_tasks=
frame_tasks=
key_tasks=
value_tasks=
beat_tasks=
separation_tasks=
sources="vocals drums bass other"
fold_tasks=
codec=
kmeans=
clip_layer=clip
checkpoint=best
model=
data_args=
shard_args=
score_args=
shard_size=1000
max_error_rate=0.01
device=cpu

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
trained=${model:-$exp/export-$checkpoint}
[ -n "$config$model" ] || die "--config is needed, such as conf/frame.yaml or atst/frame_small"
[ -n "$class_tasks$tag_tasks$frame_tasks$key_tasks$value_tasks$beat_tasks$separation_tasks$fold_tasks" ] ||
  die "no task to probe: --class_tasks, --tag_tasks, --frame_tasks, --key_tasks, --value_tasks, --beat_tasks," \
    "--separation_tasks or --fold_tasks"
[ -z "$codec" ] || [ -z "$kmeans" ] || die "--codec and --kmeans: one teacher of codes"
targets=exp/targets

data_stage

if [ -z "$model" ] && in_range validate; then
  validate_sets "$train_set" "$dev_set"
fi

if [ -z "$model" ] && in_range shard; then
  shard_sets dump "$train_set" "$dev_set"
fi

if [ -z "$model" ] && in_range targets; then
  if [ -n "$kmeans" ]; then
    log "stage 4: targets: clusters of $train_set in $targets/kmeans"
    [ -e "$targets/kmeans/config.json" ] || audiokd kmeans "dump/$train_set" "$targets/kmeans" --clusters "[$kmeans]"
  elif [ -n "$codec" ]; then
    log "stage 4: targets: an RVQ-VAE and its codes in $targets"
    audiokd fit rvq_vae --config "$codec" --train "dump/$train_set" --dev "dump/$dev_set" --exp_dir "$targets/codec"
    [ -e "$targets/codec/export/config.json" ] || audiokd export "$targets/codec" "$targets/codec/export"
    for s in "$train_set" "$dev_set"; do
      audiokd tokenize "$targets/codec/export" "dump/$s" "$targets/codes/$s" --nj "$nj" --device "$device"
    done
    [ -e "$targets/codes/all/complete.json" ] ||
      audiokd store merge "$targets/codes/$train_set" "$targets/codes/$dev_set" "$targets/codes/all"
  else
    log "stage 4: targets: none to cache"
  fi
fi
[ -z "$kmeans" ] || more_fit+=(--teacher.codes "$targets/kmeans")
[ -z "$codec" ] || more_fit+=(--teacher.stored_codes "$targets/codes/all")

if [ -z "$model" ] && in_range fit; then
  log "stage 5: fit $method in $exp"
  "${train_prefix[@]}" audiokd fit "$method" --config "$config" --train "dump/$train_set" --dev "dump/$dev_set" \
    --exp_dir "$exp" "${more_fit[@]}"
fi

if [ -z "$model" ] && in_range export; then
  log "stage 6: export $trained"
  audiokd export "$exp" "$trained" --checkpoint "$checkpoint"
fi

probe_task() { # task kind: its splits' features, or the probe on them, as the stage wants
  local task=$1 kind=$2 layer=$clip_layer size=$shard_size s source
  local stores=$exp/features-$checkpoint/$task out=$exp/probes-$checkpoint/$task
  local splits="[data/$task/train,data/$task/dev,data/$task/test]"
  case $kind in
    frames) layer=frames ;;
    beats | separation) layer=layers ;;
  esac
  [ "$layer" != layers ] || size=8 # frames of all layers: a shard of a thousand recordings would be held in memory
  if in_range extract; then
    for s in train dev test; do
      log "stage 7: extract $layer of $task/$s"
      audiokd extract "$trained" "data/$task/$s" "$stores/$s" --layer "$layer" --shard_size "$size" --nj "$nj" \
        --device "$device"
    done
  fi
  if in_range score; then
    log "stage 8: probe $task"
    local probe=(audiokd probe --train "$stores/train" --dev "$stores/dev" --test "$stores/test" --task "$kind" --data "$splits"
      --device "$device")
    if [ "$kind" = separation ]; then
      for source in $sources; do
        "${probe[@]}" --source "$source" --out "$out-$source.json" "${more_score[@]}"
      done
    else
      "${probe[@]}" --out "$out.json" "${more_score[@]}"
    fi
  fi
}

fold_task() { # task: as probe_task, for a set that is cross-validated
  local task=$1
  if in_range extract; then
    log "stage 7: extract $clip_layer of $task"
    audiokd extract "$trained" "data/$task" "$exp/features-$checkpoint/$task" --layer "$clip_layer" --nj "$nj" --device "$device"
  fi
  if in_range score; then
    log "stage 8: probe $task, cross-validated"
    audiokd probe --train "$exp/features-$checkpoint/$task" --folds "data/$task/utt2fold" --data "[data/$task]" --device "$device" \
      --out "$exp/probes-$checkpoint/$task.json" "${more_score[@]}"
  fi
}

for t in $class_tasks; do probe_task "$t" class; done
for t in $tag_tasks; do probe_task "$t" tags; done
for t in $frame_tasks; do probe_task "$t" frames; done
for t in $key_tasks; do probe_task "$t" key; done
for t in $value_tasks; do probe_task "$t" regression; done
for t in $beat_tasks; do probe_task "$t" beats; done
for t in $separation_tasks; do probe_task "$t" separation; done
for t in $fold_tasks; do fold_task "$t"; done

if [ -z "$model" ] && in_range score; then
  audiokd report "$exp"
fi
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload $trained by huggingface-cli"
