"""Data dirs of tiny tiles with masks: bright roofs on a dark ground, with labels where they are or moved off them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from audiokd.data.building_sets import MaskedSet, write_masked_set
from audiokd.data.buildings import Building, Tile, draw, moved, stratum
from audiokd.data.items import Item
from audiokd.data.masks import write_mask

SIDE = 32


def tile(number: int, seed: int) -> Tile:
    """One to three rectangles that are 5 to 40 m high; one tile in six has none."""
    rng = np.random.default_rng([seed, number])
    buildings = []
    for _ in range(0 if number % 6 == 5 else rng.integers(1, 4)):
        left, top = rng.integers(2, SIDE - 14, 2).tolist()
        wide, high = rng.integers(6, 12, 2).tolist()
        corners = ((left, top), (left + wide, top), (left + wide, top + high), (left, top + high))
        buildings.append(Building(corners, float(rng.uniform(5, 40))))
    return Tile(f"tile{seed}-{number:03d}", tuple(buildings), 0.5 if number % 2 else 1.0)


def save_tiles(folder: Path, count: int, seed: int = 0, shift: float = 0.0) -> Path:
    """A data dir; `shift` pixels to the right and down are between a mask and what the picture shows."""
    (folder / "pictures").mkdir(parents=True)
    items, tiles = [], []
    for number in range(count):
        t = tile(number, seed)
        rng = np.random.default_rng([seed, number, 1])
        shown = draw((b.footprint for b in t.buildings), (SIDE, SIDE)) > 0
        picture = rng.normal(60, 20, (SIDE, SIDE, 3)) + 120 * shown[..., None]
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / "pictures" / f"{t.id}.png")
        mask = draw((moved(b.footprint, (shift, shift)) for b in t.buildings), (SIDE, SIDE)) > 0
        write_mask(folder / "masks" / f"{t.id}.png", mask)
        highest = max((b.height_m or 0 for b in t.buildings), default=None)
        paths = (str(folder / kind / f"{t.id}.png") for kind in ("pictures", "masks"))
        items.append(Item(t.id, next(paths), domain=stratum(highest), mask=next(paths)))
        tiles.append(t)
    write_masked_set(folder, MaskedSet(items, tiles))
    return folder
