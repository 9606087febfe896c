r"""Scores of anomaly maps against masks: pixel AUROC, and AUPRO (Bergmann et al., CVPR 2019: MVTec AD).

A threshold u calls pixels defects whose value is u or more. Over the normal pixels N and the connected regions C_1 ... C_R of the
masks,

.. math:: \mathrm{FPR}(u) = \frac{|\{p \in N: m_p \ge u\}|}{|N|}, \qquad
   \mathrm{PRO}(u) = \frac{1}{R} \sum_r \frac{|\{p \in C_r: m_p \ge u\}|}{|C_r|}, \qquad
   \mathrm{AUPRO} = \frac{1}{L} \int_0^L \mathrm{PRO}\, d\,\mathrm{FPR}

with L = 0.3. Every value that a pixel has is a threshold; between two the curve is a straight line, at L as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from audiokd.eval.table import Summary, summarise_drawn

LIMIT = 0.3  # of the false positive rate
DRAWS = 200
BINS = 2000  # thresholds of the bootstrap's curves


class Pixels(NamedTuple):
    """All pixels of a set, each with what it weighs.

    Attributes:
        value: [P] of the maps.
        normal: [P] 1 where no defect is.
        region: [P] 1 / size of the region that it lies in, 0 outside.
        picture: [P] number of its picture.
        regions: [N] number of regions of each picture.
    """

    value: np.ndarray
    normal: np.ndarray
    region: np.ndarray
    picture: np.ndarray
    regions: np.ndarray


def gather_pixels(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Pixels:
    """The pixels of maps [H, W], of their masks, bool [H, W], and of the masks' regions (pixels that touch, at corners as well)."""
    from scipy.ndimage import label

    normal, region, counts = [], [], []
    for mask in masks:
        found, count = label(mask, np.ones((3, 3), int))
        size = np.bincount(found.ravel(), minlength=count + 1).astype(float)
        weight = 1 / np.maximum(size, 1)
        weight[0] = 0
        normal.append(~mask.ravel())
        region.append(weight[found.ravel()])
        counts.append(count)
    return Pixels(
        np.concatenate([m.ravel() for m in maps]).astype(np.float64),
        np.concatenate(normal),
        np.concatenate(region),
        np.repeat(np.arange(len(maps)), [m.size for m in maps]),
        np.asarray(counts),
    )


def pixel_auroc(pixels: Pixels) -> float:
    """Area under the ROC curve over all pixels; equal values count half. NaN where all or none are normal."""
    positive = ~pixels.normal
    if not positive.any() or not pixels.normal.any():
        return float("nan")
    fpr, tpr = _curve(pixels.value, pixels.normal.astype(float), positive.astype(float))
    return _area(fpr, tpr, 1.0)


def aupro(pixels: Pixels, limit: float = LIMIT) -> float:
    """The area, in [0, 1]; NaN where there is no region or no normal pixel."""
    if not pixels.regions.sum() or not pixels.normal.any():
        return float("nan")
    fpr, pro = _curve(pixels.value, pixels.normal.astype(float), pixels.region)
    return _area(fpr, pro, limit) / limit


def pixel_summaries(pixels: Pixels, limit: float = LIMIT, seed: int = 0) -> dict[str, Summary]:
    """`pixel_auroc` and `aupro` with 95% bootstrap intervals over pictures: values exact, the spread from curves of `BINS`
    thresholds."""
    n = len(pixels.regions)
    levels = np.quantile(pixels.value, np.linspace(0, 1, BINS + 1)[1:-1])
    level = np.searchsorted(levels, pixels.value, "right")
    at = pixels.picture * BINS + level
    sums = [
        np.bincount(at, w.astype(float), n * BINS).reshape(n, BINS)[:, ::-1]
        for w in (pixels.normal, ~pixels.normal, pixels.region)
    ]
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {"pixel_auroc": [], "aupro": []}
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(0, n, n), minlength=n).astype(float)
        normal, positive, region = (np.cumsum(times @ s) for s in sums)
        if normal[-1] and positive[-1]:
            x = np.concatenate([[0], normal / normal[-1]])
            drawn["pixel_auroc"].append(_area(x, np.concatenate([[0], positive / positive[-1]]), 1.0))
            drawn["aupro"].append(_area(x, np.concatenate([[0], region / (times @ pixels.regions)]), limit) / limit)
    values = {"pixel_auroc": pixel_auroc(pixels), "aupro": aupro(pixels, limit)}
    return {k: summarise_drawn(v, drawn[k], n) for k, v in values.items()}


def _curve(value: np.ndarray, false: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of both weights at or above each value, from none to all."""
    order = np.argsort(-value, kind="stable")
    sorted_values = value[order]
    last = np.append(np.flatnonzero(np.diff(sorted_values)), len(value) - 1)  # of pixels of one value
    x, y = (np.cumsum(w[order])[last] / w.sum() for w in (false, true))
    return np.concatenate([[0.0], x]), np.concatenate([[0.0], y])


def _area(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """Under the line through (x, y), x from 0 to `limit`."""
    inside = x <= limit
    x_in, y_in = x[inside], y[inside]
    if x_in[-1] < limit:
        k = len(x_in)
        slope = (y[k] - y_in[-1]) / (x[k] - x_in[-1])
        x_in, y_in = np.append(x_in, limit), np.append(y_in, y_in[-1] + slope * (limit - x_in[-1]))
    return float(((x_in[1:] - x_in[:-1]) * (y_in[1:] + y_in[:-1]) / 2).sum())
