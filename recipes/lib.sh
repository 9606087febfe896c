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
