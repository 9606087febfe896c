"""A set of CoOp to data dirs: `make_data.py NAME ROOT DATA`. The labelled shots and the unlabelled items are both of train;
ImageNet, which has no val split, gives a tenth of train for selection."""

import sys
from pathlib import Path

from audiokd.data.coop_split import coop_set
from audiokd.data.draws import hold_out
from audiokd.data.image_sets import ImageSet, write_image_set


def main(name: str, root: str, data: str) -> None:
    images = coop_set(name, root)
    train, dev = images.splits["train"], images.splits.get("val")
    if dev is None:
        train, dev = hold_out(train, 0.1, seed=0)
    write_image_set(data, ImageSet({"train": train, "dev": dev, "test": images.splits["test"]}, images.classes))
    write_image_set(Path(data), ImageSet({"unlabelled": [i.with_(label=None) for i in train]}, images.classes))


if __name__ == "__main__":
    main(*sys.argv[1:])
