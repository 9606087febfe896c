"""Videos in a folder a class, and lists of `path label` lines (Kinetics-400, Something-Something v2 as V-JEPA's and others' code
reads them), as items."""

from __future__ import annotations

import os
from pathlib import Path

from audiokd.data.folders import files_below
from audiokd.data.ids import escape_id
from audiokd.data.items import Item
from audiokd.data.text import read_utf8
from audiokd.data.video import VIDEO_SUFFIXES
from audiokd.errors import AudiokdError
from audiokd.files import leads_out

_FORM = "a line is `path label`, or `path,label`; a path is absolute or below the folder of videos"


def is_video(item: Item) -> bool:
    """Whether an item's file is named as a video is."""
    return Path(item.path).suffix.lower() in VIDEO_SUFFIXES


def video_folders(root: str | os.PathLike[str]) -> list[Item]:
    """Read root/<class>/<file>, as Kinetics is unpacked: labels are the folders' names, ids the paths below `root` without the
    suffix.

    Raises:
        AudiokdError: no such folder, no video in it, one that lies in no class' folder, or two of one id.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise AudiokdError("no such folder", where=str(folder), fix="videos lie in a folder a class")
    items: dict[str, Item] = {}
    for path in files_below(folder, VIDEO_SUFFIXES):
        below = path.relative_to(folder)
        if len(below.parts) < 2:
            raise AudiokdError("lies in no class' folder", where=str(path), fix="videos lie in a folder a class")
        _add(
            items, Item(escape_id(below.with_suffix("").as_posix()), str(path), label=below.parts[0], source=below.stem)
        )
    if not items:
        raise AudiokdError("no video in it", where=str(folder), fix=f"videos end in {' '.join(VIDEO_SUFFIXES)}")
    return sorted(items.values(), key=lambda i: i.id)


def video_list(path: str | os.PathLike[str], root: str | os.PathLike[str] = "") -> list[Item]:
    """Read a list of videos, `path label` a line, separated by a comma, a tab or the last space: a path may have spaces in it.

    Args:
        path: the list; a first line `path label` is a head.
        root: folder that relative paths are below; that of the list if left out.

    Returns:
        Items in the order of their ids, which are the paths below `root` without the suffix.

    Raises:
        AudiokdError: with file:line, a line that is no such, a path that leaves `root`, is no video's, or stands twice; or no line.
    """
    file = Path(path)
    folder = Path(root) if root else file.parent
    items: dict[str, Item] = {}
    for number, line in enumerate(read_utf8(file, _FORM).splitlines(), 1):
        words = line.strip()
        where = f"{file}:{number}"
        if not words or (number == 1 and words.replace(",", " ").split()[:2] == ["path", "label"]):
            continue
        sign = next((s for s in (",", "\t", " ") if s in words), None)
        name, _, label = words.rpartition(sign) if sign else ("", "", words)
        name, label = name.strip().strip('"'), label.strip()
        if not name or not label:
            raise AudiokdError(f"no path or no label: {words[:80]}", where=where, fix=_FORM)
        if Path(name).suffix.lower() not in VIDEO_SUFFIXES:
            raise AudiokdError(f"{name} is no video's name", where=where, fix=f"they end in {' '.join(VIDEO_SUFFIXES)}")
        if not os.path.isabs(name) and leads_out(name):
            raise AudiokdError(f"{name} leaves {folder}", where=where, fix=_FORM)
        found = Path(name) if os.path.isabs(name) else folder / name
        below = os.path.relpath(found, folder) if os.path.isabs(name) else name
        key = below if not leads_out(below) else str(found).lstrip("/")
        _add(items, Item(escape_id(os.path.splitext(key)[0]), str(found), label=label, source=found.stem, where=where))
    if not items:
        raise AudiokdError("lists no video", where=str(file), fix=_FORM)
    return sorted(items.values(), key=lambda i: i.id)


def _add(items: dict[str, Item], item: Item) -> None:
    if item.id in items:
        what = f"its id is that of {items[item.id].path}: {item.id}"
        raise AudiokdError(
            what, where=item.where or item.path, fix="list it once; an id is the path without the suffix"
        )
    items[item.id] = item
