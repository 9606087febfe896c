"""Items: a picture, a clip or a point cloud with an id and what is known of it, one JSON object a line of items.jsonl.

A line holds `id` and `path` and, where known, `label`, `domain`, `caption`, `mask`, `boxes` and `source`. A path is absolute, an
address in an object store, or relative to the folder of the file, which it never leaves.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from audiokd import objects
from audiokd.data.ids import is_legal
from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import jsonl, leads_out, write_bytes

Thing = TypeVar("Thing")
ITEMS = "items.jsonl"  # its name in a data dir
_PATHS = ("path", "mask")
_TEXTS = ("id", "path", "label", "domain", "caption", "mask", "source")
_KEYS = ("id", "path", "label", "domain", "caption", "mask", "boxes", "source")
_FORM = 'items are lines {"id": ..., "path": ..., "label": ...}'


class Box(NamedTuple):
    """Where a thing is, and what it is where known.

    Attributes:
        coordinates: left, top, right, bottom in pixels; or, of a point cloud, centre x y z, length, width, height in metres and
            the yaw in radians.
        label: of the thing.
    """

    coordinates: tuple[float, ...]
    label: str | None = None


@dataclass(frozen=True)
class Item:
    """A picture, a clip or a point cloud. Cheap: nothing is read until its loader is asked for it.

    Attributes:
        id: unique in its corpus, legal as `audiokd.data.ids` has it.
        path: its file, or its address in an object store.
        label: its class.
        domain: what kind of picture it is, where a corpus has several (photo, sketch; a place, a device).
        caption: a text that describes it.
        mask: file of its mask.
        boxes: of the things in it; () where there is none, None where that is not known.
        source: what it was taken from with others, such as a picture series: a split keeps them on one side.
        where: `file:line` that named the item, for messages.
    """

    id: str
    path: str
    label: str | None = None
    domain: str | None = None
    caption: str | None = None
    mask: str | None = None
    boxes: tuple[Box, ...] | None = None
    source: str | None = None
    where: str = ""

    def with_(self, **changes: object) -> Item:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def read_items(path: str | os.PathLike[str]) -> list[Item]:
    """Items in the order of the file.

    Args:
        path: such a file, or a data dir that holds one.

    Raises:
        AudiokdError: no such file or no item in it; and, with file:line, a line that is no JSON object, a key that is none of an
            item's, a value of the wrong kind, an illegal id, one that stands twice, a path that leaves the folder.
    """
    file = Path(path) / ITEMS if Path(path).is_dir() else Path(path)
    lines: dict[str, int] = {}
    items = []
    # not splitlines: a caption may hold U+2028, which JSON leaves as it is
    for number, line in enumerate(read_utf8(file, _FORM).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        item = _parse(line, file.parent, where)
        if item.id in lines:
            what = f"{item.id} stands there before, in line {lines[item.id]}"
            raise AudiokdError(what, where=where, fix="make the ids unique")
        lines[item.id] = number
        items.append(item)
    if not items:
        raise AudiokdError("holds no item", where=str(file), fix=_FORM)
    return items


def spaced(things: Sequence[Thing], most: int) -> list[Thing]:
    """`most` of them at most, evenly spaced from the first on: a set is often written class by class."""
    count = min(most, len(things))
    return [things[k * len(things) // count] for k in range(count)]


def write_items(path: str | os.PathLike[str], items: Iterable[Item]) -> None:
    """Write items, sorted by id, as `read_items` reads them; paths in the folder of the file become relative to it.

    Args:
        path: such a file (its suffix is .jsonl), or a data dir, which is made where it is not.

    Raises:
        AudiokdError: no item, two of one id, or one that `read_items` would refuse.
    """
    file = Path(path) if Path(path).suffix == ".jsonl" else Path(path) / ITEMS
    rows: list[dict[str, Any]] = []
    for item in sorted(items, key=lambda i: i.id):
        where = f"{file}: item {item.id}"
        _check(item, where)
        if rows and rows[-1]["id"] == item.id:
            raise AudiokdError("two items have this id", where=where, fix="make the ids unique")
        row = {key: value for key in _KEYS if (value := getattr(item, key)) is not None}
        row |= {key: _written(row[key], file.parent) for key in _PATHS if key in row}
        if item.boxes is not None:
            row["boxes"] = [{"box": list(b.coordinates)} | ({"label": b.label} if b.label else {}) for b in item.boxes]
        rows.append(row)
    if not rows:
        raise AudiokdError("there is no item to write", where=str(file))
    write_bytes(file, jsonl(rows))


def _parse(line: str, root: Path, where: str) -> Item:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise AudiokdError(f"not JSON: {e}", where=where, fix=_FORM) from e
    if not isinstance(row, dict):
        raise AudiokdError(f"not an object but {line.strip()[:40]}", where=where, fix=_FORM)
    unknown = sorted(row.keys() - set(_KEYS))
    if unknown:
        raise AudiokdError(f"unknown key {', '.join(unknown)}", where=where, fix=f"an item has {', '.join(_KEYS)}")
    known = {key: value for key, value in row.items() if value is not None}
    for key in ("id", "path"):
        if key not in known:
            raise AudiokdError(f"no {key}", where=where, fix=_FORM)
    for key in _TEXTS:
        if not isinstance(known.get(key, ""), str):
            raise AudiokdError(f"{key} is {known[key]!r}, not a text", where=where, fix="put it in quotes")
    for key in _PATHS:
        if key in known:
            known[key] = _found(known[key], root, where)
    if "boxes" in known:
        known["boxes"] = _boxes(known["boxes"], where)
    item = Item(**known, where=where)
    _check(item, where)
    return item


def _boxes(rows: object, where: str) -> tuple[Box, ...]:
    return tuple(_box(row, where) for row in (rows if isinstance(rows, list) else [rows]))


def _box(row: object, where: str) -> Box:
    if isinstance(row, dict) and not row.keys() - {"box", "label"}:
        box, label = row.get("box"), row.get("label")
        numbers = isinstance(box, list) and all(type(x) in (int, float) for x in box)
        if numbers and (label is None or isinstance(label, str)):
            with suppress(OverflowError):  # a whole number too large for a float
                return Box(tuple(map(float, box)), label)  # type: ignore[arg-type]
    fix = 'boxes are a list of {"box": [left, top, right, bottom], "label": ...}'
    raise AudiokdError(f"{json.dumps(row)[:60]} is no box", where=where, fix=fix)


def _found(path: str, root: Path, where: str) -> str:
    if objects.is_url(path) or os.path.isabs(path) or not path:
        return path
    if leads_out(path):
        fix = "a path is absolute, or relative to the folder of this file and in it"
        raise AudiokdError(f"{path} leaves {root}", where=where, fix=fix)
    return str(root / path)


def _written(path: str, root: Path) -> str:
    if objects.is_url(path):
        return path
    absolute, folder = os.path.abspath(path), os.path.abspath(root)
    return os.path.relpath(absolute, folder) if absolute.startswith(os.path.join(folder, "")) else absolute


def _check(item: Item, where: str) -> None:
    if not is_legal(item.id):
        fix = "without spaces and control characters; audiokd.data.ids.escape_id encodes them"
        raise AudiokdError(f"{item.id!r} cannot be an id", where=where, fix=fix)
    for key in _TEXTS:
        value = getattr(item, key)
        if value is None:
            continue
        if not value or "\0" in value:
            raise AudiokdError(f"{key} is {value!r}", where=where, fix="leave out what is not known")
        try:
            value.encode()
        except UnicodeEncodeError as e:  # a file name of other bytes, half of a surrogate pair
            raise AudiokdError(f"{key} is not UTF-8: {value!r}", where=where, fix="rename it") from e
    for box in item.boxes or ():
        _check_box(box, where)


def _check_box(box: Box, where: str) -> None:
    x = box.coordinates
    if not all(map(math.isfinite, x)):
        good = False
    elif len(x) == 4:
        good = x[0] < x[2] and x[1] < x[3]
    else:
        good = len(x) == 7 and min(x[3:6]) > 0
    if not good:
        fix = "left < right and top < bottom in pixels; or x y z, length, width and height over 0, yaw"
        raise AudiokdError(f"{list(x)} is no box", where=where, fix=fix)
