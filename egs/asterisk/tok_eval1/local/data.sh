#!/usr/bin/env bash
# Telephone prompts of Asterisk in five languages (8 kHz) from Debian packages. Writes data/voices: 20 prompts of 2 s to 6 s
# a language; the speaker is the one whom the package's folder names; and data/letters, with the voices of KLettres beside them.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

./local/packages.sh
python local/make_data.py downloads data/voices
python local/make_letters.py downloads data/letters
