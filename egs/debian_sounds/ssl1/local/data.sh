#!/usr/bin/env bash
# Speech in many languages, sound effects, drums, letters and music from twelve Debian packages (about 750 MB), each checked by
# sha256. Writes data/train and data/dev, without labels, and the tasks data/{drums,letters,language,sounds,phones}/{train,dev,test}.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

../../asterisk/tok_eval1/local/packages.sh
declare -A sums=(
  [festvox-ru]=21ef3f0f2978ecf2e2eddb367cb0ff4a72572196d28dc69feb84f4177af5e6c4
  [hydrogen-drumkits]=6ea3c6df9a67762e2362f946c695e619859126b19fbccf32a2e8f07dfd03b2f4
  [sonic-pi-samples]=25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d
  [tuxpaint-stamps-default]=6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34
  [wesnoth-1.16-music]=f9bc3cde92b4ab30db5d7b85f89b4bcc3d788dd92602956d0347250850bf59bb
)
for name in festvox-ru hydrogen-drumkits sonic-pi-samples tuxpaint-stamps-default wesnoth-1.16-music; do
  log "$name: 22 to 179 MB"
  python -m audiokd.data.fetch deb "$name" --sha256 "${sums[$name]}" --out downloads
done

python ../../festvox_ru/tok1/local/make_data.py downloads/festvox-ru data/phones
python local/make_data.py downloads data/phones data
