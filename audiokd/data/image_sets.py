"""A published set of pictures as its readers give it, and as data dirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from audiokd.data.classes import CLASSES, write_classes
from audiokd.data.items import Item, write_items
from audiokd.errors import AudiokdError


class ImageSet(NamedTuple):
    """Items and classes of a set.

    Attributes:
        splits: items by the name of their split.
        classes: name by label, in the order of the class vectors.
    """

    splits: dict[str, list[Item]]
    classes: dict[str, str]


def write_image_set(folder: str | os.PathLike[str], images: ImageSet) -> None:
    """Write each split as `folder`/<split> with items.jsonl and classes.txt, and say how many items and classes there are.

    Raises:
        AudiokdError: a split without an item, an item in two of them, a label that is no class.
    """
    root = Path(folder)
    seen: dict[str, str] = {}
    for split, items in images.splits.items():
        if not items:
            raise AudiokdError("no item", where=f"{root}/{split}", fix="is the set whole?")
        for item in items:
            if seen.setdefault(item.id, split) != split:
                raise AudiokdError(
                    f"in {seen[item.id]} and {split}", where=f"{root}: {item.id}", fix="is it listed twice?"
                )
            if item.label is not None and item.label not in images.classes:
                fix = "give the list of all classes"
                raise AudiokdError(f"{item.label} is no class of this set", where=f"{root}: {item.id}", fix=fix)
    for split, items in images.splits.items():
        write_items(root / split, items)
        write_classes(root / split / CLASSES, images.classes)
    print(f"{root}: {', '.join(f'{s} {len(i)}' for s, i in images.splits.items())}; {len(images.classes)} classes")
