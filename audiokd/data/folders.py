"""Files in a folder and below it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path


def files_below(root: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Files whose suffix, in lower case, is one of `suffixes`; links are followed, hidden files and folders left out.

    Folders come in sorted order, the files of one in that of the disk.
    """
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        for file in files:
            path = Path(folder) / file
            if path.suffix.lower() in suffixes and not file.startswith("."):
                yield path
