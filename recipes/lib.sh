#!/usr/bin/env bash
# What stage scripts share: messages, and stage names.
# shellcheck disable=SC2154  # first, last: the stages that the script which sources this was asked for

STAGES="data validate shard targets fit export tokenize decode publish"

log() { # message: say it with the time
  echo "[$(date +%H:%M:%S)] $*" >&2
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

in_range() { # stage name: is it to be run
  local n
  n=$(stage_number "$1")
  [ "$first" -le "$n" ] && [ "$n" -le "$last" ]
}
