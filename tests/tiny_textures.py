"""Small textures: parts of a real photograph, normal ones and such with a made defect and its mask, in MVTec AD's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64


def parts(photograph: Path, count: int, side: int = SIDE) -> list[np.ndarray]:
    """Parts [side, side, 3] of a photograph, side by side, none twice."""
    with Image.open(photograph) as image:
        x = np.asarray(image.convert("RGB"))
    places = [(r, c) for r in range(0, x.shape[0] - side + 1, side) for c in range(0, x.shape[1] - side + 1, side)]
    return [x[r : r + side, c : c + side] for r, c in places[:count]]


def spotted(picture: np.ndarray, top: int, left: int, size: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a bright square in it, and its mask of 0 and 255."""
    out, mask = picture.copy(), np.zeros(picture.shape[:2], np.uint8)
    out[top : top + size, left : left + size] = [255, 0, 255]
    mask[top : top + size, left : left + size] = 255
    return out, mask


def write_mvtec(root: Path, photograph: Path, category: str = "table", train: int = 8, test: int = 4) -> Path:
    """ROOT/CATEGORY as MVTec AD has it: train/good, test/good, test/spot and ground_truth/spot."""
    folder = root / category
    found = parts(photograph, train + 2 * test)
    for split, kind in (("train", "good"), ("test", "good"), ("test", "spot"), ("ground_truth", "spot")):
        (folder / split / kind).mkdir(parents=True)
    for k, x in enumerate(found[:train]):
        Image.fromarray(x).save(folder / "train" / "good" / f"{k:03d}.png")
    for k, x in enumerate(found[train : train + test]):
        Image.fromarray(x).save(folder / "test" / "good" / f"{k:03d}.png")
    for k, x in enumerate(found[train + test :]):
        picture, mask = spotted(x, 8 + 8 * (k % 4), 40 - 8 * (k % 4))
        Image.fromarray(picture).save(folder / "test" / "spot" / f"{k:03d}.png")
        Image.fromarray(mask).save(folder / "ground_truth" / "spot" / f"{k:03d}_mask.png")
    return folder
