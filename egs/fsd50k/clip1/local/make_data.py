"""FSD50K to Kaldi data dirs: `make_data.py CORPUS DATA`, with CORPUS/FSD50K.{dev_audio,eval_audio,ground_truth}/.

ground_truth/dev.csv splits dev_audio into train and val, eval.csv is the test set; labels stand with commas between.
"""

import csv
import sys
from pathlib import Path

from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance


def main(corpus: str, data: str) -> None:
    root = Path(corpus)
    sets: dict[str, dict[str, tuple[Path, tuple[str, ...]]]] = {"train": {}, "dev": {}, "test": {}}
    for name in ("dev", "eval"):
        with open(root / "FSD50K.ground_truth" / f"{name}.csv", newline="", encoding="utf-8") as f:
            for row in csv.DictReader(f):
                split = {"train": "train", "val": "dev"}[row["split"]] if name == "dev" else "test"
                path = root / f"FSD50K.{name}_audio" / f"{row['fname']}.wav"
                sets[split][f"{name}-{row['fname']}"] = path, tuple(row["labels"].split(","))
    for split, rows in sets.items():
        out = Path(data) / "fsd50k" / split
        write_data_dir(out, [Utterance(i, str(path)) for i, (path, _) in sorted(rows.items())])
        write_labels(out / LABELS, {i: labels for i, (_, labels) in rows.items()})
        print(f"{out}: {len(rows)} clips of {len({n for _, labels in rows.values() for n in labels})} tags")


if __name__ == "__main__":
    main(*sys.argv[1:])
