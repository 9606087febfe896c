r"""How well pixels of one class are found: IoU, F1, precision, recall, over all pixels and picture by picture, by height and GSD.

With TP, FP and FN counted over pixels whose probability is at least the threshold:

.. math:: \mathrm{IoU} = \frac{TP}{TP + FP + FN}, \quad F_1 = \frac{2 TP}{2 TP + FP + FN}, \quad P = \frac{TP}{TP + FP}, \quad
          R = \frac{TP}{TP + FN}

"micro" is of the sums over all pictures: large buildings and full pictures count for more. "per_image" is the mean of what each
picture scores, each counting once; one without a building in which none is found has no score, and is counted as `none`. The two
are never mixed. Intervals are 95 % percentile bootstraps over pictures.

Strata: a pixel belongs to the building whose outline, on the ground or of its roof, is the nearest to it, and so to the stratum of
that building's height (`audiokd.data.buildings.STRATA`). So every stratum has false positives of its own, and in pictures whose
buildings all have heights the strata's counts add up to the picture's. A picture without buildings.jsonl is of the stratum that
its `domain` names; pixels of buildings without a height are of none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from audiokd.data.buildings import STRATA, Tile, draw, stratum
from audiokd.eval.table import Summary, summarise, summarise_rate


class Counts(NamedTuple):
    """Pixels: hits, false positives, false negatives."""

    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class PictureCounts:
    """What was counted in a picture.

    Attributes:
        id: of the item.
        whole: of all pixels.
        pixels: how many there are.
        strata: by the height's stratum.
        gsd_m: metres a pixel, where it is known.
    """

    id: str
    whole: Counts
    pixels: int
    strata: Mapping[str, Counts] = field(default_factory=dict)
    gsd_m: float | None = None


#: numerator and denominator of each score
SCORES: dict[str, Callable[[Counts], tuple[int, int]]] = {
    "iou": lambda c: (c.tp, c.tp + c.fp + c.fn),
    "f1": lambda c: (2 * c.tp, 2 * c.tp + c.fp + c.fn),
    "precision": lambda c: (c.tp, c.tp + c.fp),
    "recall": lambda c: (c.tp, c.tp + c.fn),
}


def count_picture(
    id: str, said: np.ndarray, mask: np.ndarray, tile: Tile | None = None, domain: str | None = None
) -> PictureCounts:
    """Count one picture.

    Args:
        id: of the item.
        said: bool [H, W], what the model says.
        mask: bool [H, W], what is true.
        tile: its buildings.
        domain: name of its stratum, where no buildings are known.
    """
    found: dict[str, Counts] = {}
    if tile is not None and tile.buildings:
        place = strata_of(tile, (mask.shape[0], mask.shape[1]))
        for number, name in enumerate(STRATA):
            if (place == number).any():
                found[name] = _counts(said[place == number], mask[place == number])
    elif domain in STRATA:
        found[domain] = _counts(said, mask)
    return PictureCounts(id, _counts(said, mask), mask.size, found, None if tile is None else tile.gsd_m)


def strata_of(tile: Tile, size: tuple[int, int]) -> np.ndarray:
    """Number of the stratum of each pixel in the order of `STRATA`, int [H, W]; -1 of a building without a height.

    Args:
        tile: with one building at least.
        size: height and width, pixels.
    """
    from scipy.ndimage import distance_transform_edt

    names = list(STRATA)
    heights = [stratum(b.height_m) for b in tile.buildings]
    numbers = np.array([-1 if h is None else names.index(h) for h in heights])
    # roofs last: of what both cover the picture shows the roof
    owner = draw([*(b.footprint for b in tile.buildings), *(b.roof for b in tile.buildings)], size)
    if not owner.any():  # all of them lie outside the picture
        return np.full(size, numbers[0])
    nearest = distance_transform_edt(owner == 0, return_distances=False, return_indices=True)
    return numbers[(owner[tuple(nearest)] - 1) % len(numbers)]


def score_pictures(pictures: Sequence[PictureCounts]) -> dict[str, Any]:
    """Scores, `micro` and `per_image`, as `Summary.as_dict` has each; `by_height` and `by_gsd` of the pictures that have some.

    Args:
        pictures: one at least.
    """
    result = _both([p.whole for p in pictures])
    heights = {name: [p.strata[name] for p in pictures if name in p.strata] for name in STRATA}
    if any(heights.values()):
        result["by_height"] = {n: _both(of) | {"pictures": len(of)} for n, of in heights.items() if of}
    gsds = sorted({p.gsd_m for p in pictures if p.gsd_m is not None})
    if gsds:
        of_gsd = {f"{g:g} m": [p.whole for p in pictures if p.gsd_m == g] for g in gsds}
        result["by_gsd"] = {n: _both(of) | {"pictures": len(of)} for n, of in of_gsd.items()}
    return result


def _both(counts: Sequence[Counts]) -> dict[str, Any]:
    micro, each = {}, {}
    for name, parts in SCORES.items():
        ratios = [parts(c) for c in counts]
        micro[name] = summarise_rate([a for a, _ in ratios], [b for _, b in ratios]).as_dict()
        # where there is a building and nothing is found the precision of a picture is 0, as its other scores are
        scored = [sum(c) > 0 for c in counts]
        each[name] = summarise(
            [(a / b if b else 0.0) if some else None for (a, b), some in zip(ratios, scored)]
        ).as_dict()
    return {"micro": micro, "per_image": each}


def _counts(said: np.ndarray, mask: np.ndarray) -> Counts:
    return Counts(int((said & mask).sum()), int((said & ~mask).sum()), int((~said & mask).sum()))


def segment_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, a row a part of the pictures, of what `audiokd segments` wrote."""
    headers = [
        "pixels of",
        "pictures",
        *(f"{n} ↑" for n in ("IoU", "F1", "precision", "recall")),
        "IoU per image ↑",
        "F1 per image ↑",
    ]
    parts = {"all": {**result, "pictures": result["rows"]}}
    for kind in ("by_height", "by_gsd"):
        parts |= result.get(kind, {})
    rows = []
    for name, of in parts.items():
        cells = [Summary(**of["micro"][k]).text() for k in SCORES]
        cells += [Summary(**of["per_image"][k]).text() for k in ("iou", "f1")]
        rows.append([name, str(of["pictures"]), *cells])
    return headers, rows
