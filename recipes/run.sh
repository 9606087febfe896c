#!/usr/bin/env bash
# Run a command NJ times at once on this machine, each with a log: what Kaldi's run.pl is to its recipes.
#
#   run.sh [options] JOB=1:4 exp/log/tokenize.JOB.log audiokd tokenize MODEL INPUT STORE --split JOB/4
#   run.sh exp/log/fit.log audiokd fit ...
#
# JOB is replaced in the log's name and in the command. A log begins with the command and "# Started at", and ends with
# "# Accounting: time=SECONDS threads=N" and "# Ended (code C) at". The exit code is 1 where a job's is not 0.
#
#   --max-jobs-run N    so many at a time (all)
#   --num-threads N     threads of one, for its log and OMP_NUM_THREADS (1)
#   --mem X --gpu N --time X   for a cluster's program with the same options; this one has the machine it runs on
set -euo pipefail

most=0
threads=1
while [[ ${1:-} == --* ]]; do
  case ${1//_/-} in
    --help) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0" && exit 0 ;;
    --max-jobs-run) most=${2:?} ;;
    --num-threads) threads=${2:?} ;;
    --mem | --gpu | --time) ;;
    *) echo "$0: unknown option $1 (see $0 --help)" >&2 && exit 2 ;;
  esac
  shift 2
done
name=
first=1
last=1
if [[ ${1:-} =~ ^([A-Za-z_][A-Za-z0-9_]*)=([0-9]+)(:([0-9]+))?$ ]]; then
  name=${BASH_REMATCH[1]}
  first=${BASH_REMATCH[2]}
  last=${BASH_REMATCH[4]:-$first}
  shift
fi
[ $# -ge 2 ] || { echo "$0: a log and a command are needed (see $0 --help)" >&2 && exit 2; }
log=$1
shift
if [ "$first" -lt "$last" ] && [[ $log != *"$name"* ]]; then
  echo "$0: $log has no $name in its name: $((last - first + 1)) jobs would write one log" >&2
  exit 2
fi

one_job() { # log command ...: run it between the log's head and foot
  local file=$1 code=0 started
  shift
  mkdir -p "$(dirname "$file")"
  {
    printf '#'
    printf ' %q' "$@"
    printf '\n# Started at %s\n#\n' "$(date)"
  } >"$file"
  started=$(date +%s)
  OMP_NUM_THREADS=$threads "$@" >>"$file" 2>&1 </dev/null || code=$?
  {
    printf '# Accounting: time=%d threads=%d\n' $(($(date +%s) - started)) "$threads"
    printf '# Ended (code %d) at %s, elapsed time %d seconds\n' "$code" "$(date)" $(($(date +%s) - started))
  } >>"$file"
  return "$code"
}

end_all() {
  trap - INT TERM
  local p
  for p in $(jobs -p); do
    kill -- "-$p" 2>/dev/null || true
  done
  exit 130
}
trap end_all INT TERM
set -m # each job is a process group, so that what it started ends with it
pids=()
failed=()
for ((job = first; job <= last; job++)); do
  while [ "$most" -gt 0 ] && [ "$(jobs -rp | wc -l)" -ge "$most" ]; do
    sleep 0.2
  done
  file=$log
  command=("$@")
  if [ -n "$name" ]; then
    file=${log//$name/$job}
    command=("${command[@]//$name/$job}")
  fi
  one_job "$file" "${command[@]}" &
  pids+=("$!:$file")
done
for entry in "${pids[@]}"; do
  wait "${entry%%:*}" || failed+=("${entry#*:}")
done
if [ "${#failed[@]}" -gt 0 ]; then
  echo "$0: ${#failed[@]} / ${#pids[@]} failed; the log of one is in ${failed[0]}" >&2
  exit 1
fi
