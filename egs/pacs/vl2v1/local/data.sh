#!/usr/bin/env bash
# A set of DomainBed in its layout, PACS/<domain>/<class>/. Writes data/all, and data/<domain> for each.
#   --corpus FOLDER   DomainBed's data_dir, above PACS/
#   --set NAME        another: VLCS, OfficeHome, TerraIncognita, DomainNet
set -euo pipefail
corpus=downloads
set=PACS
. ../../../recipes/lib.sh
read_options "$@"

python local/make_data.py "$set" "$corpus" data
