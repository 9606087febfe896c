"""AudioSet to Kaldi data dirs: `make_data.py CORPUS AUDIO DATA`.

CORPUS holds the published segment lists: comment lines with #, then `YTID, start, end, "mid,mid,..."`. AUDIO holds a file a
segment, somewhere below it, called YTID, Y + YTID, YTID_start or YTID_start_end (seconds, or milliseconds as some tools
write), in any format that soundfile reads. Pretraining takes all of both training lists; their tags are two tasks, as20k of the
balanced list and as2m of both. A twentieth of the balanced list is the dev set of either.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance

FORMATS = {".wav", ".flac", ".ogg", ".mp3", ".opus"}


class Segment(NamedTuple):
    """A line of a list."""

    ytid: str
    start: float
    end: float
    tags: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """What its file may be called, without the suffix."""
        numbers = [(f"{t:g}", f"{round(1000 * t)}", f"{t:.3f}") for t in (self.start, self.end)]
        parts = [self.ytid, f"Y{self.ytid}"]
        parts += [f"{self.ytid}_{s}" for s in numbers[0]]
        return parts + [f"{self.ytid}_{s}_{e}" for s, e in zip(*numbers)]


def segments(path: Path) -> Iterator[Segment]:
    """The lines of a published list."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            ytid, start, end, tags = (part.strip() for part in line.split(",", 3))
            yield Segment(ytid, float(start), float(end), tuple(t.strip() for t in tags.strip('"').split(",")))
        except ValueError:
            sys.exit(f'error: {path}:{number}: not `YTID, start, end, "tags"`: {line}')


def main(corpus: str, audio: str, data: str) -> None:
    files = {p.stem: p for p in sorted(Path(audio).rglob("*")) if p.suffix in FORMATS}
    if not files:
        sys.exit(f"error: {audio}: no audio")
    sets: dict[str, dict[str, tuple[Path, tuple[str, ...]]]] = {}
    for name in ("balanced_train", "unbalanced_train", "eval"):
        path = Path(corpus) / f"{name}_segments.csv"
        rows, lost = {}, 0
        for s in segments(path) if path.exists() else ():
            found = next((files[n] for n in s.names if n in files), None)
            lost += found is None
            if found is not None:
                rows[f"Y{s.ytid}-{s.start:g}"] = found, s.tags  # an id may begin with a dash
        sets[name] = rows
        print(f"{name}: {len(rows)} segments, {lost} without audio")
    train = {**sets["unbalanced_train"], **sets["balanced_train"]}
    heard = sorted(train)
    dev = {i for i in heard if _share(i) < min(0.01, 1000 / len(heard))} or set(heard[:1])
    for split, mine in (("train", False), ("dev", True)):
        write_data_dir(Path(data) / split, [Utterance(i, str(train[i][0])) for i in heard if (i in dev) == mine])
    balanced = sets["balanced_train"]
    chooses = {i for i in balanced if _share(f"probe {i}") < 0.05} or set(sorted(balanced)[:1])
    dev_and_test = {"dev": {i: r for i, r in balanced.items() if i in chooses}, "test": sets["eval"]}
    tasks = {
        "as20k": {"train": {i: r for i, r in balanced.items() if i not in chooses}, **dev_and_test},
        "as2m": {"train": {i: r for i, r in train.items() if i not in chooses}, **dev_and_test},
    }
    sizes = []
    for task, splits in tasks.items():
        for split, rows in splits.items():
            out = Path(data) / task / split
            write_data_dir(out, [Utterance(i, str(path)) for i, (path, _) in sorted(rows.items())])
            write_labels(out / LABELS, {i: tags for i, (_, tags) in rows.items()})
        sizes.append(f"{task} {', '.join(f'{split} {len(rows)}' for split, rows in splits.items())}")
    print(f"{data}: {len(heard)} segments to pretrain on, {len(dev)} of them dev; {'; '.join(sizes)}")


def _share(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


if __name__ == "__main__":
    main(*sys.argv[1:])
