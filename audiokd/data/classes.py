"""Lists of classes: each label once, in the order of the class vectors, with the name that a prompt calls it by.

A list is a mapping of label to name. In classes.txt of a data dir a line is a label, or a label, a tab and its name where that is
another, as a synset's is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import write_text

CLASSES = "classes.txt"  # its name in a data dir
SHOWN = 10  # names in an error message


def read_classes(path: str | os.PathLike[str]) -> dict[str, str]:
    """Names by label, in the order of the file.

    Args:
        path: such a file (a user's list of words is one), or a data dir that holds one.

    Raises:
        AudiokdError: no such file, no class in it, a label that stands twice, or half a line (file:line).
    """
    file = Path(path) / CLASSES if Path(path).is_dir() else Path(path)
    lines = read_utf8(file, "a line is a label, or a label, a tab and its name").split("\n")
    rows = [(n, *_fields(line, "\t", f"{file}:{n}")) for n, line in enumerate(lines, 1) if line.strip()]
    return _once(rows, file)


def spoken(name: str) -> str:
    """A class' name as vocabularies and prompts have it: spaces for underscores."""
    return name.replace("_", " ")


def read_coop_classnames(path: str | os.PathLike[str]) -> dict[str, str]:
    """Names by folder, of ImageNet's classnames.txt as CoOp has it: `n01440764 tench`.

    Two pairs of its classes have one name (missile, sunglasses), so `check_names` is not for this list.

    Source: DATASETS.md and datasets/imagenet.py of CoOp (https://github.com/KaiyangZhou/CoOp); the names are CLIP's.

    Raises:
        AudiokdError: no such file, no class in it, a folder that stands twice or has no name (file:line).
    """
    file = Path(path)
    rows = []
    for number, line in enumerate(read_utf8(file, "a line is `folder name`, such as `n01440764 tench`").split("\n"), 1):
        if line.strip():
            label, name = _fields(line, " ", f"{file}:{number}")
            if " " not in line.strip():
                raise AudiokdError(f"{label} has no name", where=f"{file}:{number}", fix="a line is `folder name`")
            rows.append((number, label, name))
    return _once(rows, file)


def write_classes(path: str | os.PathLike[str], classes: Mapping[str, str]) -> None:
    """Write a list as `read_classes` reads it.

    Args:
        path: the file.
        classes: name by label.

    Raises:
        AudiokdError: no class, a label or a name that is empty or that a line cannot hold.
    """
    if not classes:
        raise AudiokdError("there is no class to write", where=str(path))
    for text in (*classes, *classes.values()):
        if text != text.strip() or not text or any(c in text for c in "\t\r\n"):
            raise AudiokdError(f"{text!r} cannot be a class", where=str(path), fix="words in one line, no tab")
    write_text(path, "".join(f"{k}\n" if k == name else f"{k}\t{name}\n" for k, name in classes.items()))


def check_names(classes: Mapping[str, str], where: str) -> None:
    """That a prompt tells all classes apart: case, and whether words are joined by _ or spaces, is no difference.

    Raises:
        AudiokdError: names that several labels have, all named.
    """
    labels: dict[str, list[str]] = {}
    for label, name in classes.items():
        labels.setdefault(" ".join(spoken(name).split()).casefold(), []).append(label)
    twice = [f"{name!r} for {', '.join(of)}" for name, of in labels.items() if len(of) > 1]
    if twice:
        raise AudiokdError(f"one name for several classes: {named(twice)}", where=where, fix="give each its own name")


def check_same(listed: Collection[str], found: Collection[str], where: str, fix: str) -> None:
    """That the classes of a list and those that were found are the same.

    Raises:
        AudiokdError: they are not; those on one side alone are named.
    """
    missing, unknown = sorted(set(listed) - set(found)), sorted(set(found) - set(listed))
    what = [f"nothing of {named(missing)}"] if missing else []
    what += [f"not in the list: {named(unknown)}"] if unknown else []
    if what:
        raise AudiokdError("; ".join(what), where=where, fix=fix)


def named(names: Iterable[str]) -> str:
    """Some names for a message: the first ten, and how many more."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if names[SHOWN:] else ""
    return ", ".join(names[:SHOWN]) + more


def _fields(line: str, separator: str, where: str) -> tuple[str, str]:
    label, found, name = line.strip("\r ").partition(separator)
    label, name = label.strip(), name.strip()
    if not label or (found and not name):
        raise AudiokdError(f"half a line: {line!r}", where=where, fix="a label, or a label and its name")
    return label, name or label


def _once(rows: list[tuple[int, str, str]], file: Path) -> dict[str, str]:
    lines: dict[str, int] = {}
    for number, label, _ in rows:
        if label in lines:
            what = f"{label} stands there before, in line {lines[label]}"
            raise AudiokdError(what, where=f"{file}:{number}", fix="a class stands once in its list")
        lines[label] = number
    if not rows:
        raise AudiokdError("holds no class", where=str(file))
    return {label: name for _, label, name in rows}
