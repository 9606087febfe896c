"""Rendered city blocks seen off nadir, with exact masks: `make_data.py DATA [NOISY CLEAN DEV TEST]`.

A tile is a district of streets and buildings whose footprints, heights and view are drawn from (seed, split, number) alone. The
picture shows facades, roofs that lean away from the camera by height (`audiokd.data.label_shift`), shadows, and car parks that are
coloured as roofs are but have neither facade nor shadow. A clean mask is of the roofs that can be seen, a noisy one of the
footprints, as a map has them: what is between the two is the lean.

DATA gets train-noisy (NOISY tiles) and dev-noisy (DEV), whose masks are noisy, and train-clean, dev and test, whose masks are
clean; each with items.jsonl and buildings.jsonl.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from audiokd.data.building_sets import MaskedSet, write_masked_set
from audiokd.data.buildings import Building, Polygon, Tile, covered, draw, moved, stratum
from audiokd.data.items import Item
from audiokd.data.label_shift import LabelShift
from audiokd.data.masks import write_mask

SEED = 0
SIDE = 96  # of a tile, pixels
FINE = 3  # it is rendered so many times as fine
GSD_M = (1.0, 2.0)  # metres a pixel
ANGLE = (5.0, 20.0)  # off nadir, degrees
SUN = (35.0, 65.0)  # above the horizon, degrees


class District(NamedTuple):
    """Side of a plot and of a building in it, and heights of buildings, metres from and to."""

    plot: float
    side: tuple[float, float]
    height: tuple[float, float]


DISTRICTS = {
    "low": District(20, (9, 15), (4, 11)),
    "mid": District(34, (15, 26), (13, 33)),
    "high": District(44, (20, 32), (36, 95)),
    "skyscraper": District(56, (26, 40), (102, 170)),
}
#: roofs and car parks: tiles, tar, concrete, metal, brick
ROOFS = ((150, 75, 60), (85, 85, 90), (165, 160, 150), (205, 208, 210), (130, 105, 90), (60, 70, 85))
GROUNDS = ((95, 120, 70), (120, 125, 95), (140, 130, 110))
STREET = (105, 105, 108)


def rectangle(x: float, y: float, wide: float, high: float, turn: float) -> Polygon:
    """Corners of a rectangle around (x, y), turned by `turn` radians."""
    cos, sin = math.cos(turn), math.sin(turn)
    corners = ((-wide, -high), (wide, -high), (wide, high), (-wide, high))
    # as buildings.jsonl has them: the same outline gives the same pixels
    return tuple((round(x + (a * cos - b * sin) / 2, 3), round(y + (a * sin + b * cos) / 2, 3)) for a, b in corners)


class Plan(NamedTuple):
    """What stands where: buildings, car parks, which are outlines alone, the turn of the streets and a plot's side in pixels."""

    tile: Tile
    parks: list[Polygon]
    turn: float
    plot: float


def plan(id: str, rng: np.random.Generator) -> Plan:
    """Plots in rows along streets; one in eight is a car park, one in eight empty, one in four of a lower district."""
    names = list(DISTRICTS)
    gsd, main = float(rng.choice(GSD_M)), int(rng.integers(len(names)))
    turn, plot = float(rng.uniform(0, math.pi / 2)), DISTRICTS[names[main]].plot / gsd
    buildings, parks = [], []
    reach = math.ceil(SIDE / plot) + 1
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            use, shrink = rng.random(), rng.random()
            d = DISTRICTS[names[max(0, main - (shrink < 0.25))]]
            wide, high = (float(v) / gsd for v in rng.uniform(*d.side, 2))
            height = float(rng.uniform(*d.height))
            u, v = (column + rng.uniform(-0.08, 0.08)) * plot, (row + rng.uniform(-0.08, 0.08)) * plot
            x = SIDE / 2 + u * math.cos(turn) - v * math.sin(turn)
            y = SIDE / 2 + u * math.sin(turn) + v * math.cos(turn)
            # those whose roofs or shadows reach into the tile may stand outside it
            if not (-SIDE < x < 2 * SIDE and -SIDE < y < 2 * SIDE) or use < 0.125:
                continue
            outline = rectangle(x, y, wide, high, turn)
            if use < 0.25:
                parks.append(outline)
            else:
                buildings.append(Building(outline, height))
    return Plan(Tile(id, tuple(buildings), gsd), parks, turn, plot)


def scaled(polygon: Polygon) -> Polygon:
    return tuple((x * FINE, y * FINE) for x, y in polygon)


def sweep(polygon: Polygon, by: tuple[float, float]) -> list[Polygon]:
    """The four-cornered faces between an outline and the same outline moved."""
    other = moved(polygon, by)
    n = len(polygon)
    return [(polygon[k], polygon[(k + 1) % n], other[(k + 1) % n], other[k]) for k in range(n)]


def render(of: Plan, tile: Tile, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Picture uint8 [SIDE, SIDE, 3] and mask of visible roofs bool [SIDE, SIDE].

    Args:
        of: the plan.
        tile: its tile, with the offsets of the view.
        rng: of colours, noise and the sun.
    """
    size = (SIDE * FINE, SIDE * FINE)
    ground = GROUNDS[rng.integers(len(GROUNDS))]
    picture = np.ones((*size, 3)) * ground
    # patches of grass and earth
    coarse = rng.normal(0, 9, (8, 8)).astype(np.float32)
    picture += np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))[..., None]
    place = (np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0]), indexing="xy")) + 0.5) / FINE - SIDE / 2
    along = place[0] * math.cos(of.turn) + place[1] * math.sin(of.turn)
    across = -place[0] * math.sin(of.turn) + place[1] * math.cos(of.turn)
    for axis in (along, across):
        picture[np.abs((axis / of.plot) % 1 - 0.5) * of.plot < 2.5 / (tile.gsd_m or 1)] = STREET

    def paint(polygon: Polygon, colour: np.ndarray, roof: bool) -> None:
        where, inside = covered(scaled(polygon), size)
        picture[where][inside], mask[where][inside] = colour, roof

    mask = np.zeros(size, bool)
    for park in of.parks:
        paint(park, ROOFS[rng.integers(len(ROOFS))] + rng.normal(0, 6, 3), False)
    sun, rise = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(*SUN))
    dark = np.zeros(size, bool)
    for b in tile.buildings:
        length = (b.height_m or 0) / math.tan(rise) / (tile.gsd_m or 1)
        by = (length * math.cos(sun), length * math.sin(sun))
        for face in (*sweep(b.footprint, by), moved(b.footprint, by)):
            where, inside = covered(scaled(face), size)
            dark[where] |= inside
    picture[dark] *= 0.5
    colours = [ROOFS[rng.integers(len(ROOFS))] + rng.normal(0, 8, 3) for _ in tile.buildings]
    # the far ones first: a roof that leans hides what lies behind it
    order = sorted(range(len(colours)), key=lambda k: -_depth(tile.buildings[k]))
    for k in order:
        b = tile.buildings[k]
        for number, face in enumerate(sweep(b.footprint, b.offset or (0, 0))):
            paint(face, colours[k] * (0.45, 0.6, 0.75, 0.6)[number % 4], False)
        paint(b.roof, colours[k], True)
    picture += rng.normal(0, 14, picture.shape)
    cells = picture.reshape(SIDE, FINE, SIDE, FINE, 3).mean((1, 3))
    return np.clip(cells, 0, 255).astype(np.uint8), mask.reshape(SIDE, FINE, SIDE, FINE).mean((1, 3)) > 0.5


def _depth(b: Building) -> float:
    """How far a building is from the camera: its centre along the way that roofs lean."""
    dx, dy = b.offset or (0.0, 0.0)
    length = math.hypot(dx, dy) or 1.0
    x, y = (sum(c[k] for c in b.footprint) / len(b.footprint) for k in (0, 1))
    return (x * dx + y * dy) / length


def seen(b: Building) -> bool:
    """Whether some of a building's outline or roof may lie in the tile."""
    spans = [[c[k] for c in (*b.footprint, *b.roof)] for k in (0, 1)]
    return all(min(span) < SIDE and max(span) > 0 for span in spans)


def write_split(data: Path, split: str, count: int, noisy: bool) -> None:
    items, tiles = [], []
    for number in range(count):
        name = f"{split}-{number:04d}"
        # by the split's name, so that a larger set holds the tiles of a smaller one
        rng = np.random.default_rng([SEED, *split.encode(), number])
        of = plan(name, rng)
        view = LabelShift(float(rng.uniform(*ANGLE)), float(rng.uniform(0, 360)))
        tile = view.shifted(of.tile)
        picture, clean = render(of, tile, rng)
        mask = draw((b.footprint for b in tile.buildings), (SIDE, SIDE)) > 0 if noisy else clean
        path, to = (data / split / folder / f"{name}.png" for folder in ("pictures", "masks"))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
        write_mask(to, mask)
        kept = Tile(name, tuple(b for b in tile.buildings if seen(b)), tile.gsd_m)
        highest = max((b.height_m or 0 for b in kept.buildings), default=None)
        items.append(Item(name, str(path), domain=stratum(highest), mask=str(to), source=name))
        tiles.append(kept)
    write_masked_set(data / split, MaskedSet(items, tiles))


def main(data: str, noisy: str = "600", clean: str = "60", dev: str = "60", test: str = "240") -> None:
    counts = {"train-noisy": noisy, "dev-noisy": dev, "train-clean": clean, "dev": dev, "test": test}
    for split, count in counts.items():
        write_split(Path(data), split, int(count), "noisy" in split)


if __name__ == "__main__":
    main(*sys.argv[1:])
