#!/usr/bin/env bash
# Music, drums and samples from four Debian packages (about 340 MB), and notes, chords and keys that a sound font plays, each package
# checked by sha256. Writes data/train and data/dev, without labels, and the tasks below data/.
set -euo pipefail
. ../../../recipes/lib.sh
read_options "$@"

declare -A sums=(
  [asterisk-moh-opsound-wav]=8f9d808a729d305c2d3343993f21ca5e6829e411682618dc8ea7aa8bc24a566c
  [hydrogen-drumkits]=6ea3c6df9a67762e2362f946c695e619859126b19fbccf32a2e8f07dfd03b2f4
  [sonic-pi-samples]=25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d
  [timgm6mb-soundfont]=034abdfb296d9353433513dad5dbdcab46425ee6008fc02fe7039b46e75edc54
  [wesnoth-1.16-music]=f9bc3cde92b4ab30db5d7b85f89b4bcc3d788dd92602956d0347250850bf59bb
)
for name in "${!sums[@]}"; do
  log "$name: 5 to 153 MB"
  python -m audiokd.data.fetch deb "$name" --sha256 "${sums[$name]}" --out downloads
done

python local/make_data.py downloads data
# without what it wants for loudspeakers, which needs a compiler
[ -e downloads/python/tinysoundfont ] || python -m pip install --quiet --no-deps --target downloads/python tinysoundfont==0.3.7
[ -e data/key/test/utt2label ] ||
  PYTHONPATH=downloads/python python local/render.py downloads/timgm6mb-soundfont/usr/share/sounds/sf2/TimGM6mb.sf2 data
