"""Folders a class to data dirs: `make_data.py ROOT NAMES DATA`; NAMES is a list of CoOp's, or empty: folders are the names."""

import sys
from pathlib import Path

from audiokd.data.class_folders import class_folders
from audiokd.data.classes import named, read_coop_classnames
from audiokd.data.draws import hold_out
from audiokd.data.image_sets import ImageSet, write_image_set


def main(root: str, names: str, data: str) -> None:
    there = sorted(p.name for p in (Path(root) / "train").iterdir() if p.is_dir())
    known = read_coop_classnames(names) if names else {name: name for name in there}
    if strange := [folder for folder in there if folder not in known]:
        raise SystemExit(f"error: {root}/train: folders that {names} has no name of: {named(strange)}")
    classes = {folder: known[folder] for folder in there}
    sets = {}
    for split, folder in (("train", "train"), ("test", "val")):
        items = class_folders(Path(root) / folder, classes, same_names=True).splits["all"]
        sets[split] = [item.with_(id=f"{folder}/{item.id}") for item in items]
    train, dev = hold_out(sets["train"], 0.1, seed=0)
    write_image_set(data, ImageSet({"dev": dev, "test": sets["test"]}, classes))
    write_image_set(data, ImageSet({"train": [i.with_(label=None) for i in train]}, classes))


if __name__ == "__main__":
    main(*sys.argv[1:])
