"""Lists or class folders of videos to data dirs: `make_data.py TRAIN TEST VIDEOS DATA NAME`.

TRAIN and TEST are lists (`audiokd.data.video_sets.video_list`), paths below VIDEOS, or folders with a folder a class. A hundredth
of TRAIN, by the hash of its ids, is dev: a head is chosen on it, and never on TEST. Pretraining sees TRAIN without its labels.
"""

import hashlib
import os
import sys
from pathlib import Path

from audiokd.data.items import Item, write_items
from audiokd.data.video_sets import video_folders, video_list
from audiokd.errors import AudiokdError

DEV = 0.01


def read(path: str, videos: str) -> list[Item]:
    return video_folders(path) if Path(path).is_dir() else video_list(path, videos)


def share(item: Item) -> float:
    """A number in [0, 1) that depends on the item's id alone."""
    return int.from_bytes(hashlib.sha256(f"dev {item.id}".encode()).digest()[:6], "big") / 2**48


def main(train: str, test: str, videos: str, data: str, name: str) -> None:
    try:
        learnt, tested = read(train, videos), read(test, videos)
        if both := {os.path.realpath(i.path) for i in learnt} & {os.path.realpath(i.path) for i in tested}:
            sys.exit(f"error: {len(both)} videos are in both lists, {min(both)} first")
        by_turn = sorted(learnt, key=share)
        dev = by_turn[: max(1, round(DEV * len(by_turn)))]
        chosen = {i.id for i in dev}
        rest = [i for i in learnt if i.id not in chosen]
        if lost := sorted({i.label or "" for i in (*dev, *tested)} - {i.label for i in rest}):
            sys.exit(f"error: no training video of {', '.join(lost[:5])}")
        for split, items in (("train", rest), ("dev", dev), ("test", tested)):
            write_items(Path(data) / name / split, items)
        for split, items in (("train", rest), ("dev", dev)):
            write_items(Path(data) / split, [i.with_(label=None) for i in items])
    except AudiokdError as e:
        sys.exit(f"error: {e}")
    print(
        f"{data}/{name}: train {len(rest)}, dev {len(dev)}, test {len(tested)} videos of {len({i.label for i in learnt})} classes"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
