#!/usr/bin/env bash
# What scripts of recipes share: their options, messages, stage names, and a corpus that is there or is fetched.
# shellcheck disable=SC2154,SC2034  # what is read here is set by the script that sources this, and the other way round

STAGES="data validate shard targets fit export tokenize decode publish"
recipes=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

read_options() { # "$@" of a script: its options as variables, which have their defaults above; audiokd's programs on PATH
  . "$recipes/parse_options.sh"
  [ $# -eq 0 ] || die "unexpected argument '$1' (see --help)"
  . "$recipes/path.sh"
}

stage_options() { # "$@" of a script of stages: as read_options, and what all of them ask for as numbers and arrays
  read_options "$@"
  . "$recipes/cmd.sh"
  first=$(stage_number "$stage")
  last=$(stage_number "$stop_stage")
  read -r -a tests <<<"$test_sets"
  read -r -a more_data <<<"$data_args"
  read -r -a more_fit <<<"$fit_args"
  read -r -a more_score <<<"$score_args"
  read -r -a train_prefix <<<"$train_cmd"
}

log() { # message: say it with the time
  echo "[$(date +%H:%M:%S)] $*" >&2
}

of_percent() { # 05 or 100: print the share that it is
  awk -v percent="$1" 'BEGIN { print percent / 100 }'
}

die() { # message: stop with it
  echo "error: $*" >&2
  exit 2
}

stage_number() { # a number or a name (score is stage 8 too): print the number
  local wanted=$1 name i=0
  case "$wanted" in
    score) wanted=decode ;;
    extract) wanted=tokenize ;;
  esac
  for name in $STAGES; do
    i=$((i + 1))
    if [ "$wanted" = "$i" ] || [ "$wanted" = "$name" ]; then
      echo "$i"
      return
    fi
  done
  die "unknown stage '$1': use 1-9 or one of $STAGES"
}

data_stage() { # stage 1
  if in_range data; then
    log "stage 1: data"
    ./local/data.sh "${more_data[@]}"
  fi
}

data_stages() { # sets below data/: stages 1 and 2
  data_stage
  if in_range validate; then
    validate_sets "$@"
  fi
}

validate_sets() { # sets below data/: stage 2
  local s
  for s in "$@"; do
    log "stage 2: validate data/$s"
    audiokd validate "data/$s" --nj "$nj" --max_error_rate "$max_error_rate"
  done
}

shard_sets() { # folder for shards, sets below data/: stage 3
  local to=$1 s more
  read -r -a more <<<"$shard_args"
  for s in "${@:2}"; do
    log "stage 3: shard data/$s"
    audiokd shard "data/$s" "$to/$s" --nj "$nj" --shard_size "$shard_size" --max_error_rate "$max_error_rate" "${more[@]}"
  done
}

subset_data() { # data dir, new data dir; utterance ids on stdin: its utterances of these ids
  local from=$1 to=$2 new=$2.tmp file name ids
  ids=$(mktemp)
  cat >"$ids"
  rm -rf "$new" && mkdir -p "$new"
  for file in "$from"/*; do
    name=${file##*/}
    if [ ! -f "$file" ] || [ "$name" = spk2utt ]; then
      continue
    elif [ "$name" = wav.scp ] && [ -e "$from/segments" ]; then
      cp "$file" "$new/" # its ids are recordings'
    elif [ "$name" = events.tsv ] || [ "$name" = points.tsv ]; then # with a header
      awk -F '\t' 'NR == FNR { kept[$1]; next } FNR == 1 || $1 in kept' "$ids" "$file" >"$new/$name"
    else
      awk 'NR == FNR { kept[$1]; next } $1 in kept' "$ids" "$file" >"$new/$name"
    fi
  done
  if [ -e "$new/utt2spk" ]; then
    awk '{ of[$2] = of[$2] " " $1 } END { for (s in of) print s of[s] }' "$new/utt2spk" | sort >"$new/spk2utt"
  fi
  rm -rf "$to" && mv "$new" "$to" && rm "$ids"
}

in_range() { # stage name: is it to be run
  local n
  n=$(stage_number "$1")
  [ "$first" -le "$n" ] && [ "$n" -le "$last" ]
}

fetch_tar() { # url sha256 dir member: download a tar, check it and unpack it, so that dir/member is there, whole
  local url=$1 sum=$2 dir=$3 member=$4
  [ ! -e "$dir/$member" ] || return 0
  local archive="$dir/${member//\//-}.${url##*/}"
  log "fetching $url"
  mkdir -p "$dir"
  curl --fail --location --continue-at - --output "$archive" "$url" ||
    die "cannot fetch $url: put the unpacked corpus at $dir/$member yourself, then run again"
  echo "$sum  $archive" | sha256sum --check --quiet || die "$archive is not the published file: remove it, then run again"
  rm -rf "$archive.tmp" && mkdir "$archive.tmp"
  tar -xf "$archive" -C "$archive.tmp"
  mkdir -p "$(dirname "$dir/$member")"
  mv "$archive.tmp/$member" "$dir/$member"
  rm -rf "$archive.tmp" "$archive"
}

corpus_part() { # member url sha256: $corpus/member is there, or is fetched, where --download lets it
  [ ! -d "$corpus/$1" ] || return 0
  [ "$download" = true ] || die "no $corpus/$1: give --corpus the folder above ${1%%/*}/"
  fetch_tar "$2" "$3" "$corpus" "$1"
}
