"""A part of the training drums, and spoken letters: `make_data.py DOWNLOADS DATA FEW`.

DATA/train is there (../tiue1/local/make_data.py). DATA/few are the first FEW of each class in the order of a hash of their ids.
DATA/letters and DATA/letters-dev are a to z as voices of KLettres call them, each voice in one of the two.
"""

import sys
from collections import Counter
from pathlib import Path

import soundfile as sf

sys.path.insert(0, str(Path(__file__).parents[3] / "debian_sounds" / "ssl1" / "local"))
from make_data import FORMATS, ROOTS, SHORTEST_S, letters, share

from audiokd.data.kaldi import read_data_dir, write_data_dir
from audiokd.data.labels import LABELS, read_labels, write_labels
from audiokd.data.utterance import Utterance


def write(folder: Path, utterances: list[Utterance], labels: dict[str, tuple[str, ...]]) -> None:
    write_data_dir(folder, utterances)
    write_labels(folder / LABELS, labels)
    counts = Counter(of[0] for of in labels.values())
    print(f"{folder}: {len(labels)} of {len(counts)} labels")


def main(downloads: str, data: str, few: str) -> None:
    root = Path(data)
    labels, kept = read_labels(root / "train"), Counter[str]()
    chosen: dict[str, tuple[str, ...]] = {}
    for utt_id in sorted(labels, key=share):
        if kept[labels[utt_id][0]] < int(few):
            kept[labels[utt_id][0]] += 1
            chosen[utt_id] = labels[utt_id]
    write(root / "few", [u for u in read_data_dir(root / "train") if u.id in chosen], chosen)
    there = Path(downloads) / ROOTS["klettres"]
    if not there.is_dir():
        sys.exit(f"error: no {there}")
    sounds = {
        f"klettres-{'-'.join(p.relative_to(there).with_suffix('').parts)}": p
        for p in sorted(there.glob("*/alpha/*"))
        if p.suffix in FORMATS and sf.info(p).duration >= SHORTEST_S
    }
    found = letters(sounds)
    for name, splits in (("letters", ("train", "test")), ("letters-dev", ("dev",))):
        mine = {i: (label,) for i, (split, label) in found.items() if split in splits}
        write(root / name, [Utterance(i, str(sounds[i].resolve())) for i in sorted(mine)], mine)


if __name__ == "__main__":
    main(*sys.argv[1:])
