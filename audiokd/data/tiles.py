"""Large pictures cut into tiles that overlap, and maps of tiles stitched back.

A folder of tiles is a data dir as any other; its tiles.jsonl says where each tile lies. Pictures that are split (train,
selection, test) are
split before they are cut: tiles of two splits that overlap would show a test picture in training.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audiokd.data.anomaly_labels import GOOD
from audiokd.data.images import load_image
from audiokd.data.items import Item, write_items
from audiokd.data.masks import load_mask
from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import jsonl, write_bytes

TILES = "tiles.jsonl"  # its name in a data dir


class Tile(NamedTuple):
    """Where a tile lies.

    Attributes:
        id: of the tile.
        source: id of the picture.
        top, left: its first row and column.
        size: of its sides, pixels.
        height, width: of the picture.
    """

    id: str
    source: str
    top: int
    left: int
    size: int
    height: int
    width: int


def places(length: int, size: int, step: int) -> list[int]:
    """Where tiles of `size` begin along a side of `length`: every `step` pixels, and the last one at the end.

    Raises:
        AudiokdError: a tile is longer than the side, or the step leaves pixels out.
    """
    if size > length:
        raise AudiokdError(f"tiles of {size} pixels, a picture of {length}", fix=f"{length} at most")
    if not 0 < step <= size:
        raise AudiokdError(f"a step of {step} pixels between tiles of {size}", fix=f"1 to {size}")
    return [*range(0, length - size, step), length - size]


def write_tiles(items: Iterable[Item], folder: str | os.PathLike[str], size: int, step: int) -> list[Item]:
    """Cut pictures, and their masks where they have some, and write them as the data dir `folder`.

    A tile of a defect's picture keeps its label where its mask has a pixel of it, and is good where it has none; of a picture
    without a mask
    every tile has its label. `source` of a tile is its picture.

    Args:
        items: pictures.
        folder: to write: tiles/, masks/, items.jsonl, tiles.jsonl.
        size: of the tiles' sides, pixels.
        step: pixels from a tile to the next.

    Returns:
        the tiles.

    Raises:
        ImageError, AudiokdError: a picture or a mask cannot be read, or is smaller than a tile.
    """
    from PIL import Image

    root, tiles, rows = Path(folder), [], []
    for kind in ("tiles", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for item in items:
        picture = load_image(item)
        mask = load_mask(item, (picture.height, picture.width)) if item.mask else None
        for top in places(picture.height, size, step):
            for left in places(picture.width, size, step):
                name = f"{item.id}@{top}.{left}"
                file = name.replace("/", "__")
                box = (left, top, left + size, top + size)
                picture.crop(box).save(root / "tiles" / f"{file}.png")
                tile = Item(
                    name, str(root / "tiles" / f"{file}.png"), item.label, item.domain, source=item.source or item.id
                )
                if mask is not None:
                    part = mask[top : top + size, left : left + size]
                    if part.any():
                        Image.fromarray(part.astype(np.uint8) * 255).save(root / "masks" / f"{file}.png")
                        tile = tile.with_(mask=str(root / "masks" / f"{file}.png"))
                    else:
                        tile = tile.with_(label=GOOD)
                tiles.append(tile)
                rows.append(Tile(name, item.id, top, left, size, picture.height, picture.width)._asdict())
    write_items(root, tiles)
    write_bytes(root / TILES, jsonl(rows))
    return tiles


def read_tiles(folder: str | os.PathLike[str]) -> dict[str, Tile]:
    """Tiles by id.

    Raises:
        AudiokdError: the folder has no tiles.jsonl, or a line of it is none of a tile (file:line).
    """
    path = Path(folder) / TILES
    if not path.is_file():
        raise AudiokdError(f"no {TILES}", where=str(folder), fix="audiokd.data.tiles.write_tiles makes such a data dir")
    found = {}
    for number, line in enumerate(read_utf8(path, "a line is a tile").splitlines(), 1):
        try:
            tile = Tile(**json.loads(line))
        except (ValueError, TypeError) as e:
            raise AudiokdError(f"no tile: {e}", where=f"{path}:{number}", fix="cut the pictures again") from e
        found[tile.id] = tile
    return found


def stitch(maps: Mapping[str, np.ndarray], tiles: Sequence[Tile]) -> np.ndarray:
    """One map [H, W] of a picture from maps [h, w] of its tiles: the mean where they overlap.

    Args:
        maps: by the tile's id; of any size, brought to the tile's by bilinear interpolation.
        tiles: of one picture.

    Raises:
        AudiokdError: a tile has no map, or the tiles leave pixels out.
    """
    height, width = tiles[0].height, tiles[0].width
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for tile in tiles:
        if tile.id not in maps:
            raise AudiokdError(f"no map of the tile {tile.id}", where=tile.source, fix="extract all tiles")
        at = np.s_[tile.top : tile.top + tile.size, tile.left : tile.left + tile.size]
        total[at] += resized(maps[tile.id], tile.size, tile.size)
        count[at] += 1
    if not count.all():
        raise AudiokdError(
            f"{int((count == 0).sum())} pixels lie in no tile", where=tiles[0].source, fix="cut it again"
        )
    return (total / count).astype(np.float32)


def resized(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map [h, w] at another size, by bilinear interpolation between the centres of its cells."""
    if x.shape == (height, width):
        return x
    rows, columns = (_between(n, to) for n, to in zip(x.shape, (height, width)))
    upper, lower = x[rows[0]], x[rows[1]]
    x = upper + (lower - upper) * rows[2][:, None]
    left, right = x[:, columns[0]], x[:, columns[1]]
    return left + (right - left) * columns[2]


def _between(n: int, to: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at = np.clip((np.arange(to) + 0.5) * n / to - 0.5, 0, n - 1)
    low = np.floor(at).astype(int)
    return low, np.minimum(low + 1, n - 1), at - low
