#!/usr/bin/env python
"""What several models made of the same items, a row a model: pictures, or log-mel spectrograms of sounds.

    cd egs/digits/tiue1
    ../../../recipes/generated_grid.py samples.png teacher=exp/teacher/generated/test tiue=exp/tiue/generated/test

Folders are those of `audiokd generate`; columns are items that all have, evenly spaced over the first folder's list.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from audiokd.data.images import load_image
from audiokd.data.items import spaced
from audiokd.data.media import open_media
from audiokd.errors import AudiokdError
from audiokd.report.generated import picture_grid, sound_picture


def rows_of(folders: dict[str, Path], columns: int) -> dict[str, list]:
    """The pictures of each folder, of `columns` items that all have.

    Raises:
        AudiokdError: no item in common.
    """
    sets = {name: open_media(folder, same_names=True) for name, folder in folders.items()}
    items = {name: {i.id: i for i in of.items} for name, of in sets.items()}
    first = next(iter(items.values()))
    common = [id for id in first if all(id in of for of in items.values())]
    if not common:
        fix = "generate them for one test set"
        raise AudiokdError("the folders have no item in common", where=", ".join(map(str, folders.values())), fix=fix)
    chosen = spaced(common, columns)
    return {
        name: [load_image(items[name][id]) if of.kind == "image" else sound_picture(of, id) for id in chosen]
        for name, of in sets.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("out", help="PNG to write")
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER", help="a row, and what `audiokd generate` wrote")
    parser.add_argument("--columns", type=int, default=20, help="items shown")
    args = parser.parse_args()
    folders = {}
    for word in args.folders:
        name, there, folder = word.partition("=")
        if not there:
            parser.error(f"'{word}' is not NAME=FOLDER")
        folders[name] = Path(folder)
    try:
        rows = rows_of(folders, args.columns)
    except AudiokdError as e:
        raise SystemExit(f"generated_grid.py: {e}") from None
    picture_grid(rows, args.columns).save(args.out, optimize=True)
    print(f"{args.out}: {len(rows)} rows of {len(next(iter(rows.values())))}")


if __name__ == "__main__":
    main()
