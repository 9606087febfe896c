"""Speech Commands v0.02 to Kaldi data dirs: `make_data.py CORPUS DATA`, with CORPUS/speech_commands_v0.02/<word>/*.wav.

The published lists split it: testing_list.txt, validation_list.txt, and all else trains. _background_noise_ is no word.
"""

import sys
from pathlib import Path

from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance


def main(corpus: str, data: str) -> None:
    root = Path(corpus) / "speech_commands_v0.02"
    listed = {}
    for split, name in (("dev", "validation_list.txt"), ("test", "testing_list.txt")):
        listed |= dict.fromkeys((root / name).read_text(encoding="utf-8").split(), split)
    sets: dict[str, dict[str, Path]] = {"train": {}, "dev": {}, "test": {}}
    for path in sorted(p for p in root.glob("*/*.wav") if not p.parent.name.startswith("_")):
        name = f"{path.parent.name}/{path.name}"
        sets[listed.get(name, "train")][f"{path.parent.name}-{path.stem}"] = path
    for split, paths in sets.items():
        out = Path(data) / "words" / split
        write_data_dir(out, [Utterance(i, str(p), speaker=p.stem.split("_")[0]) for i, p in paths.items()])
        write_labels(out / LABELS, {i: (p.parent.name,) for i, p in paths.items()})
        print(f"{out}: {len(paths)} clips of {len({p.parent.name for p in paths.values()})} words")


if __name__ == "__main__":
    main(*sys.argv[1:])
