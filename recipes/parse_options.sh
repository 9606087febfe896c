#!/usr/bin/env bash
# --name value and --name=value set the shell variable `name`, which must be defined above; an unknown one is an error.
# Use: set defaults, then `. parse_options.sh`. --help prints the comment at the head of the script that sources this.
# Dashes in a name are underscores in its variable. What follows the options stays in "$@".
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h)
      sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0"
      exit 0
      ;;
    --*=*)
      set -- "${1%%=*}" "${1#*=}" "${@:2}"
      ;;
    --*)
      name=${1#--}
      name=${name//-/_}
      if ! [[ $name =~ ^[a-z][a-z0-9_]*$ ]] || [ -z "${!name+set}" ]; then
        echo "$0: unknown option $1 (see $0 --help)" >&2
        exit 2
      fi
      if [ $# -lt 2 ]; then
        echo "$0: option $1 needs a value" >&2
        exit 2
      fi
      printf -v "$name" '%s' "$2"
      shift 2
      ;;
    *) break ;;
  esac
done
