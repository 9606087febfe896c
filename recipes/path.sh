#!/usr/bin/env bash
# Where audiokd's programs are: the repository's own environment (make venv) first, else whatever is on PATH.
AUDIOKD_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export AUDIOKD_ROOT
if [ -x "$AUDIOKD_ROOT/.venv/bin/audiokd" ]; then
  PATH="$AUDIOKD_ROOT/.venv/bin:$PATH"
fi
export PATH LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
command -v audiokd >/dev/null || {
  echo "error: no audiokd on PATH: run 'make venv', or pip install audiokd" >&2
  exit 1
}
