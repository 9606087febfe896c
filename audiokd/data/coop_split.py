"""The eleven sets of CoOp and PromptKD, with the splits that CoOp published for them.

Nine have split_zhou_<name>.json: lists `[path, label, class name]` under train, val and test. FGVC-Aircraft has its own lists of
variants, ImageNet a folder a class and classnames.txt. ImageNet has no val (CoOp takes its test items for that): selection needs
items held out of train.

Source: DATASETS.md and datasets/ of CoOp (https://github.com/KaiyangZhou/CoOp; Zhou et al., arXiv 2109.01134).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from audiokd.data.class_folders import class_folders
from audiokd.data.classes import check_names, check_same, named, read_coop_classnames
from audiokd.data.ids import escape_id
from audiokd.data.image_sets import ImageSet
from audiokd.data.items import Item
from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import leads_out

_SPLITS = ("train", "val", "test")
_FORM = 'the file holds {"train": [[path, label, class name], ...], "val": [...], "test": [...]}'


class Layout(NamedTuple):
    """Where a set lies below the root of all sets; `images` and `split` are below its folder."""

    folder: str
    images: str
    split: str


COOP = {
    "ImageNet": Layout("imagenet", "images", "classnames.txt"),
    "Caltech101": Layout("caltech-101", "101_ObjectCategories", "split_zhou_Caltech101.json"),
    "OxfordPets": Layout("oxford_pets", "images", "split_zhou_OxfordPets.json"),
    # its paths begin with cars_train/ and cars_test/
    "StanfordCars": Layout("stanford_cars", "", "split_zhou_StanfordCars.json"),
    "Flowers102": Layout("oxford_flowers", "jpg", "split_zhou_OxfordFlowers.json"),
    "Food101": Layout("food-101", "images", "split_zhou_Food101.json"),
    "FGVCAircraft": Layout("fgvc_aircraft", "images", "variants.txt"),
    "SUN397": Layout("sun397", "SUN397", "split_zhou_SUN397.json"),
    "DTD": Layout("dtd", "images", "split_zhou_DescribableTextures.json"),
    "EuroSAT": Layout("eurosat", "2750", "split_zhou_EuroSAT.json"),
    "UCF101": Layout("ucf101", "UCF-101-midframes", "split_zhou_UCF101.json"),
}


def coop_set(name: str, root: str | os.PathLike[str]) -> ImageSet:
    """Read one of the eleven sets: train, val and test (ImageNet: train and test).

    Args:
        name: as in `COOP`.
        root: the folder in which each set has its own, CoOp's $DATA.

    Raises:
        AudiokdError: no such set, and what `read_coop_split` raises of its files.
    """
    if name not in COOP:
        raise AudiokdError(f"no set {name!r}", fix=f"one of {', '.join(COOP)}")
    layout = COOP[name]
    folder = Path(root) / layout.folder
    if not folder.is_dir():
        raise AudiokdError(
            "no such folder", where=str(folder), fix=f"{name} is expected there, as CoOp's DATASETS.md has it"
        )
    if name == "ImageNet":
        return _imagenet(folder / layout.images, folder / layout.split)
    if name == "FGVCAircraft":
        return _aircraft(folder, folder / layout.images, folder / layout.split)
    return read_coop_split(folder / layout.split, folder / layout.images)


def read_coop_split(file: str | os.PathLike[str], images: str | os.PathLike[str]) -> ImageSet:
    """Read a split_zhou_<name>.json.

    Labels are the class names, in the order of the file's numbers; ids are paths below `images` without the suffix.

    Args:
        file: the split; val may be left out or empty.
        images: folder that its paths are relative to.

    Raises:
        AudiokdError: not such a file, an entry that is none or whose path leaves `images` (file and place), a number with two
            names, names that no prompt would tell apart, a picture that is listed twice, a class that a split lacks, a folder that
            is not there or has none of the pictures. Single pictures that are missing are found when they are read.
    """
    path, folder = Path(file), Path(images)
    try:
        rows = json.loads(read_utf8(path, _FORM))
    except ValueError as e:
        raise AudiokdError(f"not JSON: {e}", where=str(path), fix=_FORM) from e
    if not isinstance(rows, dict) or not {"train", "test"} <= rows.keys() or rows.keys() - set(_SPLITS):
        raise AudiokdError("not train, val and test", where=str(path), fix=_FORM)
    names: dict[int, str] = {}
    splits: dict[str, list[Item]] = {}
    for split in _SPLITS:
        of = rows.get(split, [])
        if not isinstance(of, list):
            raise AudiokdError(f"{split} is no list", where=str(path), fix=_FORM)
        splits[split] = [_entry(row, folder, names, f"{path}: {split}[{n}]") for n, row in enumerate(of)]
    check_names({f"label {number}": name for number, name in sorted(names.items())}, str(path))
    classes = {names[number]: names[number] for number in sorted(names)}
    return _checked(ImageSet(splits, classes), path, folder)


def _entry(row: object, folder: Path, names: dict[int, str], where: str) -> Item:
    good = isinstance(row, list) and [type(x) for x in row] == [str, int, str]
    if not isinstance(row, list) or not good or not Path(row[0]).name or not row[2].strip():
        raise AudiokdError(
            f"{json.dumps(row)[:80]} is no entry", where=where, fix="an entry is [path, label, class name]"
        )
    image, number, name = row
    if names.setdefault(number, name) != name:
        what = f"label {number} is {name!r} here and {names[number]!r} before"
        raise AudiokdError(what, where=where, fix="a label has one name")
    return _item(folder, image, name, where)


def _item(folder: Path, image: str, label: str, where: str) -> Item:
    if leads_out(image):
        raise AudiokdError(f"{image} leaves {folder}", where=where, fix="a path is relative to the folder of images")
    return Item(escape_id(str(Path(image).with_suffix(""))), str(folder / image), label=label, where=where)


def _checked(images: ImageSet, file: Path, folder: Path) -> ImageSet:
    """`images` without the splits that are empty, once its classes and pictures are found whole."""
    seen: dict[str, Item] = {}
    for split, items in images.splits.items():
        if items or split != "val":
            check_same(
                images.classes,
                {i.label or "" for i in items},
                f"{file}: {split}",
                "every class has items in every split",
            )
        for item in items:
            if seen.setdefault(item.id, item) is not item:
                what = f"{item.path} is there before, at {seen[item.id].where}"
                raise AudiokdError(what, where=item.where, fix="a picture stands once, in one split")
    if not folder.is_dir():
        raise AudiokdError("no such folder", where=str(folder), fix=f"the pictures of {file} are expected there")
    if not any(os.path.isfile(item.path) for item in seen.values()):
        first = [i.path for i in seen.values()][:3]
        raise AudiokdError(
            f"none of its pictures is there: {named(first)}", where=str(file), fix="fetch and unpack them first"
        )
    return ImageSet({s: items for s, items in images.splits.items() if items}, images.classes)


def _aircraft(root: Path, images: Path, variants: Path) -> ImageSet:
    """images_variant_<split>.txt: `1025794 707-320` a line, a picture without its suffix and its variant."""
    known = [line.strip() for line in read_utf8(variants, "a variant a line").split("\n") if line.strip()]
    classes = {name: name for name in known}
    if len(classes) < len(known):
        twice = sorted({name for name in known if known.count(name) > 1})
        raise AudiokdError(f"there twice: {named(twice)}", where=str(variants), fix="a variant a line, each once")
    check_names(classes, str(variants))
    splits: dict[str, list[Item]] = {}
    for split in _SPLITS:
        file = root / f"images_variant_{split}.txt"
        splits[split] = []
        for number, line in enumerate(read_utf8(file, "a line is `picture variant`").split("\n"), 1):
            if not line.strip():
                continue
            image, _, name = line.strip().partition(" ")
            if name not in classes:
                what = f"{name!r} is not in {variants.name}"
                raise AudiokdError(what, where=f"{file}:{number}", fix="a line is `picture variant`")
            splits[split].append(_item(images, f"{image}.jpg", name, f"{file}:{number}"))
    return _checked(ImageSet(splits, classes), root, images)


def _imagenet(images: Path, classnames: Path) -> ImageSet:
    """Labels are the folders (synsets), for two pairs of classes have one name; what ImageNet calls val is the test split."""
    listed = read_coop_classnames(classnames)
    classes = {folder: listed[folder] for folder in sorted(listed)}
    splits = {}
    for split, folder in (("train", "train"), ("test", "val")):
        items = class_folders(images / folder, classes, same_names=True).splits["all"]
        splits[split] = [item.with_(id=f"{folder}/{item.id}") for item in items]
    return ImageSet(splits, classes)
