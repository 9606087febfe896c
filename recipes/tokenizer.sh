#!/usr/bin/env bash
# Train a speech tokenizer and turn corpora into tokens. Run by egs/<corpus>/tok1/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 3 shard, 4 targets, 5 fit, 6 export, 7 tokenize,
#                                         8 decode (and score, semantics where data/<set>/phones.ctm
#                                         is, report); 9 publish is a later release's
#   --nj N                                processes for validate, shard, tokenize
#   --config FILE                         settings of the method
#   --fit_args "--run.seed 1 ..."         further options of `audiokd fit`
#   --method NAME  --exp DIR              what to train, where
#   --train_set S --dev_set S --test_sets "S ..."   folders below data/
#   --dump DIR                            where stage 3 packs shards; `--dump data` packs none, all stages read data/ itself
#   --teacher DIR|HUB_ID  --asr DIR|HUB_ID          frozen ASR encoder, and the ASR that scores (empty: no WER)
#   --model DIR                           score this tokenizer on the test sets: nothing is trained, stages 4 to 6 do nothing
#   --baseline true|false                 tokenize, decode and score the test sets with the untrained model too
#   --data_args "..."                     passed to local/data.sh
#   --shard_args "--sample_rate 16000"    passed to `audiokd shard`
#   --score_args "..."                    passed to `audiokd score`
#   --semantics_args "..."                passed to `audiokd semantics`
#
# Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
config=
fit_args=
method=lm_spt
exp=exp/tok1
train_set=train
dev_set=dev
test_sets="test"
dump=dump
teacher=
asr=
model=
baseline=true
data_args=
shard_args=
score_args=
semantics_args=
shard_size=1000
max_error_rate=0.01
device=cpu

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
read -r -a more_semantics <<<"$semantics_args"
read -r -a tokenize_prefix <<<"$tokenize_cmd"
sets=("$train_set" "$dev_set")
trained=$exp/export
if [ -n "$model" ]; then
  sets=()
  trained=$model
  baseline=false
fi
[ -n "$config$model" ] || die "--config is needed, such as conf/small.yaml or lm_spt/small"

data_stages "${sets[@]}" "${tests[@]}"

if in_range shard && [ "$dump" = data ]; then
  log "stage 3: shard: none, --dump data reads data/ itself"
elif in_range shard; then
  shard_sets "$dump" "${sets[@]}" "${tests[@]}"
fi

if [ -z "$model" ] && in_range targets; then
  log "stage 4: targets: none to cache, the teacher listens to what the student says at every step"
fi

if [ -z "$model" ] && in_range fit; then
  log "stage 5: fit $method in $exp"
  teacher_args=()
  [ -z "$teacher" ] || teacher_args=(--teacher.name "$teacher")
  "${train_prefix[@]}" audiokd fit "$method" --config "$config" --train "$dump/$train_set" --dev "$dump/$dev_set" \
    --exp_dir "$exp" "${teacher_args[@]}" "${more_fit[@]}"
fi

if [ -z "$model" ] && in_range export; then
  log "stage 6: export $exp/export"
  audiokd export "$exp" "$exp/export"
  [ "$baseline" != true ] || audiokd export "$exp" "$exp/untrained" --checkpoint init
fi

if in_range tokenize; then
  for s in "${sets[@]}" "${tests[@]}"; do
    log "stage 7: tokenize $s"
    "${tokenize_prefix[@]}" audiokd tokenize "$trained" "$dump/$s" "$exp/tokens/$s" --nj "$nj" --device "$device"
    audiokd store verify "$exp/tokens/$s"
  done
  for s in "${tests[@]}"; do
    [ "$baseline" != true ] ||
      audiokd tokenize "$exp/untrained" "$dump/$s" "$exp/tokens_untrained/$s" --nj "$nj" --device "$device"
  done
fi

if in_range decode; then
  asr_args=()
  [ -z "$asr" ] || asr_args=(--text true --asr "$asr" --teacher "$teacher")
  for s in "${tests[@]}"; do
    log "stage 8: decode, score and report $s"
    systems=(rebuilt semantic)
    audiokd decode "$trained" "$exp/tokens/$s" "$exp/wav/$s/rebuilt" --device "$device"
    audiokd decode "$trained" "$exp/tokens/$s" "$exp/wav/$s/semantic" --semantic_only true --device "$device"
    if [ "$baseline" = true ]; then
      audiokd decode "$exp/untrained" "$exp/tokens_untrained/$s" "$exp/wav/$s/untrained" --device "$device"
      systems=(untrained "${systems[@]}")
    fi
    for system in "${systems[@]}"; do
      store=$exp/tokens/$s
      [ "$system" != untrained ] || store=$exp/tokens_untrained/$s
      streams=()
      [ "$system" != semantic ] || streams=(--streams "[0]")
      audiokd score --ref "data/$s" --hyp "$exp/wav/$s/$system" --out "$exp/scores/$s/$system.json" --store "$store" \
        "${streams[@]}" --model "$trained" --system "$system" --sample_rate 16000 --nj "$nj" "${asr_args[@]}" "${more_score[@]}"
    done
    if [ -f "data/$s/phones.ctm" ]; then
      audiokd semantics "$exp/tokens/$s" "data/$s" --out "$exp/semantics/$s/trained.json" --model "$trained" \
        --device "$device" "${more_semantics[@]}"
      [ "$baseline" != true ] ||
        audiokd semantics "$exp/tokens_untrained/$s" "data/$s" --out "$exp/semantics/$s/untrained.json" \
          --model "$exp/untrained" --device "$device" "${more_semantics[@]}"
    fi
    if [ -n "$model" ]; then
      tail -n +1 "$exp/scores/$s"/*.md
      [ ! -f "data/$s/phones.ctm" ] || tail -n +1 "$exp/semantics/$s"/*.md
    else
      audiokd report "$exp" --set "$s" --ref "data/$s" --results results.jsonl
    fi
  done
fi
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload $exp/export by huggingface-cli"
