"""Videos in a folder a class, lists of `path label` lines (Kinetics-400, Something-Something v2 as V-JEPA's and others' code reads
them), Kinetics' own table and Something-Something's own list, as items."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from audiokd.data.folders import files_below
from audiokd.data.ids import escape_id
from audiokd.data.items import Item
from audiokd.data.text import read_utf8
from audiokd.data.video import VIDEO_SUFFIXES
from audiokd.errors import AudiokdError
from audiokd.files import leads_out

_FORM = "a line is `path label`, or `path,label`; a path is absolute or below the folder of videos"
#: the head of Kinetics' tables; a video's file is ID_START_END.mp4, seconds in six figures
KINETICS = ["label", "youtube_id", "time_start", "time_end"]
#: a path ends at the first suffix of a video that a separator follows: both it and the label may hold spaces and commas
_LINE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, VIDEO_SUFFIXES))}))(?:\s*[,\t]\s*|\s+)(.+)", re.IGNORECASE)


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
    """Read a list of videos.

    Args:
        path: the list. Lines of `path label`, separated by a comma, a tab or a space, quoted as csv where they are (a first line
            `path label` is a head); or Kinetics' own table (label, youtube_id, time_start, time_end, split); or, as .json,
            Something-Something's own list, whose classes are its templates.
        root: folder that relative paths are below, and in which the files of the two others are found, however deep; that of the
            list if left out.

    Returns:
        Items in the order of their ids, which are the paths below `root` without the suffix. Whether the files are there is
        `audiokd validate`'s to say.

    Raises:
        AudiokdError: with file:line, a line that is no such, a path that leaves `root`, is no video's, or stands twice; or no line.
    """
    file = Path(path)
    folder = Path(root) if root else file.parent
    items: dict[str, Item] = {}
    for where, name, label in _rows(file, folder):
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


def _rows(file: Path, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Where a video is listed, its path, and its label."""
    text = read_utf8(file, _FORM)
    if file.suffix.lower() == ".json":
        yield from _something(file, text, folder)
        return
    lines = text.splitlines()
    if lines and next(csv.reader(lines[:1]))[:4] == KINETICS:
        yield from _kinetics(file, lines, folder)
        return
    for number, line in enumerate(lines, 1):
        words, where = line.strip(), f"{file}:{number}"
        if not words or (number == 1 and words.replace(",", " ").split()[:2] == ["path", "label"]):
            continue
        name, label = _path_and_label(words)
        if not label:
            raise AudiokdError(f"no path or no label: {words[:80]}", where=where, fix=_FORM)
        yield where, name, label


def _path_and_label(line: str) -> tuple[str, str]:
    """Of a line; the label is empty where there is none."""
    if line[0] == '"':
        cells = next(csv.reader([line], delimiter="," if '",' in line else " "))
        if len(cells) == 2:
            return cells[0], cells[1].strip()
    if not (found := _LINE.fullmatch(line)):  # no video's name, which is said
        name, _, label = line.rpartition(" ")
        return name, label if name else ""
    name, label = found[1], found[2].strip()
    return name, label[1:-1].replace('""', '"') if re.fullmatch('".*"', label) else label


def _kinetics(file: Path, lines: list[str], folder: Path) -> Iterator[tuple[str, str, str]]:
    there = _names(folder)
    for number, row in enumerate(csv.reader(lines[1:]), 2):
        if not row:
            continue
        where = f"{file}:{number}"
        if len(row) < 4 or not row[0] or not (row[2] + row[3]).isdigit():
            raise AudiokdError(f"no row of {','.join(KINETICS)}: {','.join(row)[:80]}", where=where)
        stem = f"{row[1]}_{int(row[2]):06d}_{int(row[3]):06d}"
        yield where, there.get(stem, f"{stem}.mp4"), row[0]


def _something(file: Path, text: str, folder: Path) -> Iterator[tuple[str, str, str]]:
    there = _names(folder)
    fix = 'a list of {"id": ..., "template": ...}, as train.json and validation.json are'
    try:
        listed = json.loads(text)
    except ValueError as e:
        raise AudiokdError(f"no JSON: {e}", where=str(file), fix=fix) from e
    for number, row in enumerate(listed if isinstance(listed, list) else [None]):
        if not isinstance(row, dict) or not row.get("id") or not row.get("template"):
            raise AudiokdError("has no id or no template", where=f"{file}: entry {number}", fix=fix)
        label = row["template"].replace("[", "").replace("]", "")
        yield f"{file}: entry {number}", there.get(str(row["id"]), f"{row['id']}.webm"), label


def _names(folder: Path) -> dict[str, str]:
    """The videos below a folder by their names without the suffix."""
    found = files_below(folder, VIDEO_SUFFIXES) if folder.is_dir() else []
    return {path.stem: path.relative_to(folder).as_posix() for path in found}


def _add(items: dict[str, Item], item: Item) -> None:
    if item.id in items:
        what = f"its id is that of {items[item.id].path}: {item.id}"
        raise AudiokdError(
            what, where=item.where or item.path, fix="list it once; an id is the path without the suffix"
        )
    items[item.id] = item
