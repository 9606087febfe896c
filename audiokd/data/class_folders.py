"""Pictures in a folder a class, and DomainBed's sets: in a folder a domain with such folders in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from audiokd.data.classes import check_names, check_same, named
from audiokd.data.folders import files_below
from audiokd.data.ids import escape_id
from audiokd.data.image_sets import ImageSet
from audiokd.data.images import IMAGE_SUFFIXES
from audiokd.data.items import Item
from audiokd.data.labelled import one_word
from audiokd.errors import AudiokdError


class Domains(NamedTuple):
    """Where a set of DomainBed lies, how many domains and classes it has, and what DomainBed calls its domains."""

    folder: str
    domains: tuple[str, ...]
    classes: int


# https://github.com/facebookresearch/DomainBed: domainbed/datasets.py (folders, domains in the order of their sorted folders) and
# scripts/download.py; numbers of classes from the sets' papers
DOMAINBED = {
    "PACS": Domains("PACS", ("A", "C", "P", "S"), 7),
    "VLCS": Domains("VLCS", ("C", "L", "S", "V"), 5),
    "OfficeHome": Domains("office_home", ("A", "C", "P", "R"), 65),
    "TerraIncognita": Domains("terra_incognita", ("L100", "L38", "L43", "L46"), 10),
    "DomainNet": Domains("domain_net", ("clip", "info", "paint", "quick", "real", "sketch"), 345),
}


def class_folders(
    root: str | os.PathLike[str], classes: Mapping[str, str] | None = None, same_names: bool = False
) -> ImageSet:
    """Read root/<class>/<file>: one split, "all".

    Labels are the names of the folders, items in them any deeper; ids are paths below `root` without the suffix.

    Args:
        root: the folder.
        classes: name by folder, in the order of the class vectors; left out, the folders' own names, sorted.
        same_names: let several classes have one name, as CoOp's list of ImageNet does.

    Raises:
        AudiokdError: no such folder or none in it, a class without a picture, folders and `classes` that do not match, names that
            no prompt would tell apart, two files of one id.
    """
    folder = Path(root)
    found = _folders(folder, "pictures lie in a folder a class")
    if classes is None:
        classes = {name: name for name in found}
    check_same(classes, found, str(folder), "there must be a folder for each class of the list, and no other")
    if not same_names:
        check_names(classes, str(folder))
    items = _pictures(folder, folder, found)
    return ImageSet({"all": items}, dict(classes))


def domain_folders(root: str | os.PathLike[str]) -> ImageSet:
    """Read root/<domain>/<class>/<file>: a split a domain, classes in the order of their sorted folders. A domain is called as its
    split is, in one word (OfficeHome's "Real World" is Real_World).

    Raises:
        AudiokdError: no such folder, a domain that lacks a class of another, and what `class_folders` raises.
    """
    folder = Path(root)
    found = {domain: _folders(folder / domain, "a domain has a folder a class") for domain in _folders(folder, _DOMAIN)}
    classes = sorted({name for of in found.values() for name in of})
    lacking = [
        f"{d} has no {named(sorted(set(classes) - set(of)))}" for d, of in found.items() if len(of) < len(classes)
    ]
    if lacking:  # DomainBed numbers each domain's folders by themselves: a missing one would shift its labels
        raise AudiokdError("; ".join(lacking), where=str(folder), fix="every domain has every class: is the set whole?")
    names = {name: name for name in classes}
    check_names(names, str(folder))
    splits: dict[str, list[Item]] = {}
    for domain, of in found.items():
        name = one_word(domain)
        items = [item.with_(domain=name) for item in _pictures(folder, folder / domain, of)]
        if splits.setdefault(name, items) is not items:
            raise AudiokdError(f"two domains are named {name}", where=str(folder), fix="rename one")
    return ImageSet(splits, names)


def domainbed_set(name: str, root: str | os.PathLike[str]) -> ImageSet:
    """Read a set of DomainBed.

    Args:
        name: PACS, VLCS, OfficeHome, TerraIncognita or DomainNet.
        root: DomainBed's data_dir, in which the set has its folder.

    Raises:
        AudiokdError: no such set, other numbers of domains or classes than it has, and what `domain_folders` raises.
    """
    if name not in DOMAINBED:
        raise AudiokdError(f"no set {name!r}", fix=f"one of {', '.join(DOMAINBED)}")
    folder, known = Path(root) / DOMAINBED[name].folder, DOMAINBED[name]
    images = domain_folders(folder)
    if len(images.splits) != len(known.domains):
        what = f"{len(images.splits)} domains ({named(images.splits)}), {name} has {', '.join(known.domains)}"
        raise AudiokdError(what, where=str(folder), fix="is it whole, and nothing else in its folder?")
    if len(images.classes) != known.classes:
        what = f"{len(images.classes)} classes, {name} has {known.classes}"
        raise AudiokdError(what, where=str(folder), fix="is it whole, and nothing else in its folder?")
    return images


_DOMAIN = "domains lie in folders with a folder a class in each"


def _folders(root: Path, fix: str) -> list[str]:
    """Names of the folders in `root`, sorted."""
    if not root.is_dir():
        raise AudiokdError("no such folder", where=str(root), fix=fix)
    found = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not found:
        raise AudiokdError("no folder in it", where=str(root), fix=fix)
    return found


def _pictures(root: Path, folder: Path, classes: list[str]) -> list[Item]:
    items: dict[str, Item] = {}
    empty = []
    for label in classes:
        before = len(items)
        for path in files_below(folder / label, IMAGE_SUFFIXES):
            item = Item(escape_id(path.relative_to(root).with_suffix("").as_posix()), str(path), label=label)
            if item.id in items:
                what = f"its id is that of {items[item.id].path}: {item.id}"
                raise AudiokdError(what, where=str(path), fix="rename one: an id is the path without the suffix")
            items[item.id] = item
        if len(items) == before:
            empty.append(label)
    if empty:
        fix = f"pictures end in {' '.join(IMAGE_SUFFIXES)}; take folders of other things away"
        raise AudiokdError(f"no picture of {named(empty)}", where=str(folder), fix=fix)
    return sorted(items.values(), key=lambda i: i.id)
