"""ESC-50 to a Kaldi data dir: `make_data.py CORPUS DATA`, with CORPUS/ESC-50-master/{meta/esc50.csv,audio/}."""

import csv
import sys
from pathlib import Path

from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance


def main(corpus: str, data: str) -> None:
    root, out = Path(corpus) / "ESC-50-master", Path(data) / "esc50"
    with open(root / "meta" / "esc50.csv", newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    ids = {r["filename"]: Path(r["filename"]).stem for r in rows}
    write_data_dir(out, [Utterance(i, str(root / "audio" / name)) for name, i in sorted(ids.items())])
    write_labels(out / LABELS, {ids[r["filename"]]: (r["category"],) for r in rows})
    write_labels(out / "utt2fold", {ids[r["filename"]]: (r["fold"],) for r in rows})
    print(
        f"{out}: {len(rows)} clips of {len({r['category'] for r in rows})} classes in {len({r['fold'] for r in rows})} folds"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
