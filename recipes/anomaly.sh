#!/usr/bin/env bash
# Detect defects with what learnt normal pictures alone: DBFAD, RD4AD or STFPM. Run by egs/<corpus>/<task>/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 5 fit, 6 export, 7 extract (maps of the test sets), 8 score
#   --kind dbfad|rd4ad|stfpm              what to train
#   --weights NAME                        of the teacher: file, folder or hub id
#   --categories "A B"                    a model for each category (domain of data/train), in exp/<kind>/<category>, tested on
#                                         data/test-<category>
#   --leave_out "A B"                     domain generalisation: a model of all categories but one, without residual paths, tested on
#                                         that one; in exp/<kind>-without/<category>
#                                         neither of the two: one model of all, in exp/<kind>/all, tested on data/test
#   --dev_set SET                         below data/: normal pictures to select by; left out, a share of data/train is held out
#   --fit_args "--config FILE ..."        options of `audiokd fit dbfad`
#   --checkpoint best|last                what is exported
#   --valid_sets "train test"             sets below data/ that stage 2 looks at
#   --exp DIR                             where, in the place of exp/
#   --data_args "..."                     passed to local/data.sh
#   --score_args "..."                    passed to `audiokd anomalies`
#   --nj N, --device DEVICE               for validate and extract
#
# Stage 3 has nothing to do: pictures are not packed. Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
kind=dbfad
weights=
categories=
leave_out=
dev_set=train
test_sets=
fit_args=
checkpoint=best
valid_sets="train test"
exp=exp
data_args=
score_args=
device=cpu
max_error_rate=0.01

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
read -r -a each <<<"$categories"
read -r -a others <<<"$leave_out"
case "$kind" in
  dbfad | rd4ad | stfpm) ;;
  *) die "--kind is dbfad, rd4ad or stfpm, not '$kind'" ;;
esac
[ ${#each[@]} -eq 0 ] || [ ${#others[@]} -eq 0 ] || die "--categories or --leave_out, not both"

read -r -a valid <<<"$valid_sets"
data_stages "${valid[@]}"

one_run() { # run folder, test set below data/, options of fit
  local run=$1 tested=$2 model=$1/export-$checkpoint
  if in_range fit; then
    log "stage 5: fit $kind in $run"
    local given=(--model.kind "$kind" --data.test "[data/$tested]" "${@:3}" "${more_fit[@]}")
    [ -z "$weights" ] || given+=(--model.weights "$weights")
    "${train_prefix[@]}" audiokd fit dbfad --exp_dir "$run" --train data/train --dev "data/$dev_set" "${given[@]}"
  fi
  if in_range export; then
    log "stage 6: export $run"
    [ -e "$model/config.json" ] || audiokd export "$run" "$model" --checkpoint "$checkpoint"
  fi
  if in_range extract; then
    log "stage 7: extract maps of data/$tested"
    audiokd extract "$model" "data/$tested" "$run/maps/$checkpoint-$tested" --layer map --nj "$nj" --device "$device"
  fi
  if in_range score; then
    log "stage 8: score data/$tested"
    audiokd anomalies "$run/maps/$checkpoint-$tested" --data "data/$tested" --out "$run/anomalies/$tested.json" \
      --model "$model" --heat_maps "$run/anomalies/$tested" "${more_score[@]}"
    audiokd report "$run"
  fi
}

for c in "${each[@]}"; do
  one_run "$exp/$kind/$c" "test-$c" --data.category "$c"
done
for c in "${others[@]}"; do
  without=(--data.leave_out "$c")
  [ "$kind" != dbfad ] || without+=(--model.residual false)
  one_run "$exp/$kind-without/$c" "test-$c" "${without[@]}"
done
if [ ${#each[@]} -eq 0 ] && [ ${#others[@]} -eq 0 ]; then
  one_run "$exp/$kind/all" test
fi
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload the exported folders by huggingface-cli"
