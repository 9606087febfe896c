#!/usr/bin/env bash
# Distil a pair model of pictures or sound with texts: PromptKD, VL2V or S3A. Run by egs/<corpus>/<task>/run.sh, in its folder.
#
#   --stage N|NAME, --stop_stage N|NAME   1 data, 2 validate, 5 fit, 6 export, 7 extract (logits of the test sets), 8 score
#   --nj N                                processes for validate and extract
#   --method promptkd|vl2v|s3a            what to train; its steps, each in exp/<name>/<step>:
#       promptkd   teacher (fit promptsrc on the few labels of data/train), student (fit promptkd on data/unlabelled)
#       vl2v       align, distill, once for each domain that is left out of data/all: exp/<name>/<domain>/<step>; --step sd|erm|...
#                  trains that one instead
#       s3a        s3a (fit s3a on data/train); the untrained model is scored beside it
#   --step NAME                           one step alone
#   --pair NAME                           the pair model: folder or hub id
#   --pair_args "--model.media ..."       train it first, in exp/pair: options of `audiokd fit lit`, on data/pair-train and data/pair-dev
#   --leave_out "A B"                     vl2v: domains that are left out, one after another
#   --test_sets "test"                    sets below data/ that are scored; of vl2v it is the domain that is left out, data/<domain>
#   --valid_sets "train dev test"         sets below data/ that stage 2 looks at
#   --max_error_rate 0.01                 share of a set that may be unreadable there
#   --teacher_args "--config FILE ..."    options of `audiokd fit` for the first step (teacher, align)
#   --fit_args "--run.seed 1 ..."         options of `audiokd fit` for the last step
#   --checkpoint "last best"              what is exported of the last step and scored, one after another; of vl2v swad, too
#   --exp DIR                             where
#   --data_args "..."                     passed to local/data.sh
#   --score_args "..."                    passed to `audiokd classify`, of s3a to `audiokd name`
#   --device DEVICE                       for extract
#
# Stage 3 has nothing to do: pictures are not packed. Every stage skips what is done and can be killed and started again.
set -euo pipefail

stage=1
stop_stage=8
nj=1
method=
step=
pair=
pair_args=
leave_out=
test_sets="test"
valid_sets="train dev test"
teacher_args=
fit_args=
checkpoint="last best"
exp=
data_args=
score_args=
device=cpu
max_error_rate=0.01

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
stage_options "$@"
read -r -a more_teacher <<<"$teacher_args"
read -r -a more_pair <<<"$pair_args"
read -r -a domains <<<"$leave_out"
read -r -a checkpoints <<<"$checkpoint"
[ ${#checkpoints[@]} -gt 0 ] || die "--checkpoint is needed: last, best, or both"
[ -n "$exp" ] || exp=exp/$method
case "$method" in
  promptkd) steps=(teacher student) ;;
  vl2v) steps=(align distill) ;;
  s3a) steps=(s3a) ;;
  *) die "--method is promptkd, vl2v or s3a, not '$method'" ;;
esac
if [ "$method" = vl2v ] && [ -n "$step" ]; then
  [ "$step" = distill ] || steps=("$step") # distill stands on align
elif [ -n "$step" ]; then
  [[ " ${steps[*]} " = *" $step "* ]] || die "the steps of $method are ${steps[*]}, not $step"
fi
final=${steps[-1]}
[ -n "$pair" ] || [ ${#more_pair[@]} -gt 0 ] || die "--pair is needed: a CLIP, SigLIP, CLAP or LiT; or --pair_args"
[ -n "$pair" ] || pair=exp/pair/export
[ "$method" != vl2v ] || [ ${#domains[@]} -gt 0 ] || die "--leave_out is needed: domains of data/all"

read -r -a valid <<<"$valid_sets"
data_stages "${valid[@]}"

wanted() { # step: is it to be trained
  [ -z "$step" ] || [ "$step" = "$1" ]
}

fit() { # method, run folder, options: train
  log "stage 5: fit $1 in $2"
  "${train_prefix[@]}" audiokd fit "$1" --exp_dir "$2" "${@:3}"
}

export_run() { # run folder, checkpoint, model folder: where it is not there
  if [ ! -e "$3/config.json" ] && [ ! -e "$3/prompts.safetensors" ]; then
    audiokd export "$1" "$3" --checkpoint "$2"
  fi
}

extract_and_score() { # model folder, set, stem of the outputs, options of the scoring
  if in_range extract; then
    log "stage 7: extract logits of data/$2"
    audiokd extract "$1" "data/$2" "$3-$2-logits" --layer logits --nj "$nj" --device "$device"
  fi
  if in_range score; then
    log "stage 8: score data/$2"
    if [ "$method" = s3a ]; then
      audiokd name "$3-$2-logits" --data "data/$2" --out "$3-$2.json" "${@:4}"
    else
      audiokd classify "$3-$2-logits" --data "[data/$2]" --out "$3-$2.json" "${@:4}"
    fi
  fi
}

one_run() { # folder: its steps, and the scores of the test sets in `tests`
  local run=$1 tested
  printf -v tested ',data/%s' "${tests[@]}"
  tested="[${tested:1}]" # none of these is learnt from
  if in_range fit; then
    case "$method" in
      promptkd)
        if wanted teacher; then
          fit promptsrc "$run/teacher" --model.pair "$pair" --train data/train --dev data/dev --data.test "$tested" "${more_teacher[@]}"
          export_run "$run/teacher" last "$run/teacher/export"
        fi
        if wanted student; then
          fit promptkd "$run/student" --teacher.pair "$run/teacher/export" --train data/unlabelled --dev data/dev --data.test "$tested" "${more_fit[@]}"
        fi
        ;;
      vl2v)
        local both=(--train data/all --dev data/all --data.leave_out "${tests[0]}")
        [ "$final" = erm ] || both+=(--teacher.pair "$pair") # ERM has no teacher
        if [ "$final" = sd ]; then # the student is the pair model's own
          fit vl2v "$run/sd" --step sd "${both[@]}" "${more_fit[@]}"
        elif [ "$final" != distill ]; then
          fit vl2v "$run/$final" --step "$final" "${both[@]}" "${more_teacher[@]}" "${more_fit[@]}"
        else
          if wanted align; then
            fit vl2v "$run/align" --step align "${both[@]}" "${more_teacher[@]}"
            export_run "$run/align" last "$run/align/export"
          fi
          if wanted distill; then
            fit vl2v "$run/distill" --step distill --model.aligned "$run/align/export" "${both[@]}" "${more_fit[@]}"
          fi
        fi
        ;;
      s3a)
        fit s3a "$run/s3a" --pair "$pair" --train data/train --dev data/dev --data.test "data/${tests[0]}" "${more_fit[@]}"
        ;;
    esac
  fi
  wanted "$final" || return 0
  local of=("${checkpoints[@]}") c t
  [ "$method" != s3a ] || of+=(init)
  if in_range export; then
    log "stage 6: export $run/$final"
    for c in "${of[@]}"; do export_run "$run/$final" "$c" "$run/$final/export-$c"; done
  fi
  for t in "${tests[@]}"; do
    for c in "${of[@]}"; do
      extract_and_score "$run/$final/export-$c" "$t" "$run/$final/$c" "${more_score[@]}"
    done
  done
}

if in_range fit && [ ${#more_pair[@]} -gt 0 ]; then
  fit lit exp/pair --train data/pair-train --dev data/pair-dev "${more_pair[@]}"
  export_run exp/pair best exp/pair/export
fi
if [ "$method" = vl2v ]; then
  for domain in "${domains[@]}"; do
    tests=("$domain")
    one_run "$exp/$domain"
  done
else
  one_run "$exp"
fi
[ "$last" -lt 9 ] || die "stage 9 (publish) is not in this release; upload $exp/$final/export-${checkpoints[0]} by huggingface-cli"
