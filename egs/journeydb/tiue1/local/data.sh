#!/usr/bin/env bash
# Prompts to learn from, and COCO's pictures with captions to be scored against. Writes data/train/prompts.txt and data/test.
#   --prompts FILE      a prompt a line; or .jsonl or .parquet, such as JourneyDB's annotations of the training set
#   --column NAME       of such a table: prompt of JourneyDB's
#   --captions FILE     COCO's captions_val2014.json
#   --pictures FOLDER   of its pictures, val2014
#   --items N           pictures that are scored against, the first by number; of each its first caption
set -euo pipefail
prompts=downloads/train_anno.jsonl
column=
captions=downloads/annotations/captions_val2014.json
pictures=downloads/val2014
items=30000
. ../../../recipes/lib.sh
read_options "$@"

[ -e "$prompts" ] || die "no $prompts: give --data_args '--prompts FILE', the annotations of JourneyDB's training set (its terms are to be accepted on the hub), or any prompts"
[ -e "$captions" ] && [ -d "$pictures" ] || die "no $captions or no $pictures: give --data_args '--captions FILE --pictures FOLDER', COCO's val2014 from cocodataset.org"
python local/make_data.py "$prompts" "$column" "$captions" "$pictures" data "$items"
