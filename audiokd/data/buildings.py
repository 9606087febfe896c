"""The buildings of a tile: footprints, heights and how far roofs lean, one JSON object a tile in buildings.jsonl of a data dir.

    {"id": "t0001", "gsd_m": 0.5, "buildings": [{"footprint": [[x, y], ...], "height_m": 12.0, "offset": [dx, dy]}]}

x grows to the right and y downwards, pixels. `offset` is the way from a footprint to its roof in the picture, as BONAI has it
(arXiv 2204.13637): roof = footprint + offset. What is not known is left out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import jsonl, write_bytes

BUILDINGS = "buildings.jsonl"  # its name in a data dir
_FORM = '{"id": ..., "gsd_m": ..., "buildings": [{"footprint": [[x, y], ...], "height_m": ..., "offset": [dx, dy]}]}'

#: where the strata of building heights begin, metres. The paper's own limits were not read. These: three storeys are low-rise;
#: 35 m and 100 m are where the Emporis Standards put high-rise buildings and skyscrapers.
STRATA = {"low": 0.0, "mid": 12.0, "high": 35.0, "skyscraper": 100.0}

Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Building:
    """One building.

    Attributes:
        footprint: corners (x, y) of its outline on the ground, pixels; three at least.
        height_m: metres.
        offset: (dx, dy) from the footprint to the roof in the picture, pixels.
    """

    footprint: Polygon
    height_m: float | None = None
    offset: tuple[float, float] | None = None

    @property
    def roof(self) -> Polygon:
        """Corners of its roof in the picture; of the footprint where no offset is known."""
        return moved(self.footprint, self.offset or (0.0, 0.0))


@dataclass(frozen=True)
class Tile:
    """What is known of the buildings in a picture.

    Attributes:
        id: of the item.
        buildings: in it.
        gsd_m: ground sampling distance, metres a pixel.
    """

    id: str
    buildings: tuple[Building, ...]
    gsd_m: float | None = None


def stratum(height_m: float | None) -> str | None:
    """Name of the height's stratum (`STRATA`); None where the height is not known."""
    if height_m is None:
        return None
    return [name for name, least in STRATA.items() if height_m >= least][-1]


def moved(polygon: Polygon, by: tuple[float, float]) -> Polygon:
    """The polygon, moved by (dx, dy) pixels."""
    return tuple((x + by[0], y + by[1]) for x, y in polygon)


def draw(polygons: Iterable[Polygon], size: tuple[int, int]) -> np.ndarray:
    """Number of the last polygon that holds each pixel's centre, from 1 on, and 0 where none does: int32 [H, W].

    Args:
        polygons: corners (x, y); what lies outside is cut off.
        size: height and width.
    """
    numbers = np.zeros(size, np.int32)
    for number, polygon in enumerate(polygons, 1):
        place, inside = covered(polygon, size)
        numbers[place][inside] = number
    return numbers


def covered(polygon: Polygon, size: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """The rectangle of pixels around a polygon, and which of them have their centre in it (even-odd rule): slices of rows and
    columns, and bool of their shape.

    Pillow's polygons take their border's pixels too, half a pixel more on every side: a shift of a pixel would be lost in it.
    """
    x, y = np.array(polygon).T
    left, right = (int(np.clip(v, 0, size[1])) for v in (math.floor(x.min()), math.ceil(x.max())))
    top, bottom = (int(np.clip(v, 0, size[0])) for v in (math.floor(y.min()), math.ceil(y.max())))
    columns, rows = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    inside = np.zeros((len(rows), len(columns)), bool)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1)):
        crossed = (y0 <= rows) != (y1 <= rows)
        if crossed.any():
            at = x0 + (rows[crossed] - y0) * (x1 - x0) / (y1 - y0)
            inside[crossed] ^= columns[None] < at[:, None]
    return (slice(top, bottom), slice(left, right)), inside


def read_buildings(path: str | os.PathLike[str]) -> dict[str, Tile]:
    """Tiles by id.

    Args:
        path: such a file, or a data dir; nothing is read of one without it.

    Raises:
        AudiokdError: with file:line, a line that is none of a tile's, or an id that stands twice.
    """
    file = Path(path) / BUILDINGS if Path(path).is_dir() else Path(path)
    tiles: dict[str, Tile] = {}
    if not file.is_file():
        return tiles
    for number, line in enumerate(read_utf8(file, _FORM).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            row = json.loads(line)
            tile = Tile(row["id"], tuple(_building(b) for b in row["buildings"]), row.get("gsd_m"))
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise AudiokdError(f"not the buildings of a tile: {type(e).__name__} {e}", where=where, fix=_FORM) from e
        if tile.id in tiles:
            raise AudiokdError(f"{tile.id} stands there before", where=where, fix="one line a tile")
        if tile.gsd_m is not None and not tile.gsd_m > 0:
            raise AudiokdError(f"gsd_m is {tile.gsd_m}", where=where, fix="metres a pixel, over 0")
        tiles[tile.id] = tile
    return tiles


def write_buildings(path: str | os.PathLike[str], tiles: Iterable[Tile]) -> None:
    """Write tiles, sorted by id, as `read_buildings` reads them.

    Args:
        path: data dir, or the file.
    """
    file = Path(path) if Path(path).suffix == ".jsonl" else Path(path) / BUILDINGS
    rows = []
    for tile in sorted(tiles, key=lambda t: t.id):
        about: dict[str, Any] = {"id": tile.id} | ({} if tile.gsd_m is None else {"gsd_m": tile.gsd_m})
        about["buildings"] = [_row(b) for b in tile.buildings]
        rows.append(about)
    write_bytes(file, jsonl(rows))


def _row(b: Building) -> dict[str, Any]:
    row: dict[str, Any] = {"footprint": [[round(x, 3), round(y, 3)] for x, y in b.footprint]}
    if b.height_m is not None:
        row["height_m"] = round(b.height_m, 3)
    if b.offset is not None:
        row["offset"] = [round(v, 3) for v in b.offset]
    return row


def _building(row: dict[str, Any]) -> Building:
    footprint = polygon(row["footprint"])
    height, offset = row.get("height_m"), row.get("offset")
    if height is not None and not 0 <= height < math.inf:
        raise ValueError(f"height_m is {height}")
    return Building(footprint, height, None if offset is None else (float(offset[0]), float(offset[1])))


def polygon(corners: Sequence[Sequence[float]]) -> Polygon:
    """Corners (x, y) as a polygon.

    Raises:
        ValueError: fewer than three, or numbers that are none.
    """
    found = tuple((float(x), float(y)) for x, y in corners)
    if len(found) < 3 or not all(math.isfinite(v) for corner in found for v in corner):
        raise ValueError(f"{len(found)} corners are no outline: three at least, finite")
    return found
