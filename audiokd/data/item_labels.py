"""Labels and domains of items, by the names that a classifier has for its classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from audiokd.data.classes import CLASSES, check_same, read_classes
from audiokd.data.items import Item, read_items


def read_item_labels(path: str | os.PathLike[str], names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Label by id, as one of `names`, and domain by id; of the items that have one.

    A classifier knows its classes by label or by the name that a prompt calls them; classes.txt of the folder has both.

    Args:
        path: a folder with items.jsonl, or that file.
        names: of the classifier's classes.

    Raises:
        AudiokdError: as `read_items` and `read_classes`; or classes.txt, or an item's label without one, is not of `names`.
    """
    items = read_items(path)
    file = (Path(path) if Path(path).is_dir() else Path(path).parent) / CLASSES
    if file.is_file():
        classes = read_classes(file)
        if set(classes) != set(names) and set(classes.values()) == set(names):
            items = [i if i.label is None else i.with_(label=classes.get(i.label, i.label)) for i in items]
        else:
            fix = "extract the logits with a classifier of these classes, or give the data that its classes are of"
            check_same(names, classes, str(file), fix)
    return _of(items, "label"), _of(items, "domain")


def _of(items: list[Item], field: str) -> dict[str, str]:
    return {i.id: value for i in items if (value := getattr(i, field)) is not None}
