"""Scores of anomaly detection: by hand, against scikit-learn, and AUPRO against its definition threshold by threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score

from audiokd.eval.anomaly_pictures import auroc, f1, f1_oracle, picture_summaries
from audiokd.eval.anomaly_pixels import aupro, gather_pixels, pixel_auroc, pixel_summaries


def test_pictures_by_hand() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    bad = np.array([False, False, True, True])
    assert auroc(scores, bad) == 0.75
    assert auroc(np.ones(4), bad) == 0.5  # equal scores count half
    assert f1(scores, bad, 0.4) == pytest.approx(2 / 3)  # one of two found, none wrongly
    assert f1(scores, bad, 0.9) == 0
    assert f1_oracle(scores, bad) == pytest.approx(0.8)  # from 0.35 on: both, and one too many
    assert f1_oracle(np.ones(4), bad) == pytest.approx(2 / 3)  # all alike: all or none
    assert math.isnan(auroc(scores, np.zeros(4, bool)))
    assert math.isnan(f1(scores, np.zeros(4, bool), 0.0))


def test_pictures_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, bad = np.round(rng.random(60), 1), rng.random(60) < 0.3
    assert auroc(scores, bad) == pytest.approx(roc_auc_score(bad, scores))
    found = picture_summaries(scores, bad, 0.5)
    assert found["auroc"].mean == pytest.approx(roc_auc_score(bad, scores))
    assert found["auroc"].low < found["auroc"].mean < found["auroc"].high
    assert found["f1"].mean <= found["f1_oracle"].mean
    assert "f1" not in picture_summaries(scores, bad, None)
    assert picture_summaries(scores, bad, 0.5) == found  # the same numbers, the same interval


def test_aupro_by_hand() -> None:
    """Ten normal pixels and two regions, of one and of two pixels.

    Values fall 9, 8, ... : region A, 1 normal, half of B, 2 normal, the rest of B, 7 normal. PRO steps 0.5 at FPR 0, 0.75 at 0.1,
    1 at 0.3; to
    0.3 the line has 0.5 over 0.1 and 0.75 over 0.2.
    """
    mask = np.zeros((1, 13), bool)
    mask[0, [0, 5, 6]] = True
    values = np.zeros((1, 13))
    values[0, 0] = 9
    values[0, 2] = 8
    values[0, 5] = 7
    values[0, [3, 8]] = 6, 5
    values[0, 6] = 4
    values[0, [1, 4, 7, 9, 10, 11, 12]] = np.arange(7) / 10
    pixels = gather_pixels([values], [mask])
    assert pixels.regions.tolist() == [2]
    assert aupro(pixels) == pytest.approx((0.1 * 0.5 + 0.2 * 0.75) / 0.3)
    assert aupro(pixels, 0.1) == pytest.approx(0.5)
    assert aupro(pixels, 0.2) == pytest.approx((0.1 * 0.5 + 0.1 * 0.75) / 0.2)  # between two thresholds
    assert aupro(pixels, 1.0) == pytest.approx(0.1 * 0.5 + 0.2 * 0.75 + 0.7)
    assert pixel_auroc(pixels) == pytest.approx((10 + 9 + 7) / 30)


def by_definition(maps: list[np.ndarray], masks: list[np.ndarray], limit: float) -> float:
    """FPR and PRO at every threshold by counting, and the trapezia between them."""
    regions = []
    for m, mask in zip(maps, masks):
        found, count = label(mask, np.ones((3, 3)))
        regions += [m[found == k + 1] for k in range(count)]
    normal = np.concatenate([m[~mask] for m, mask in zip(maps, masks)])
    points = [(0.0, 0.0)]
    for u in sorted({float(v) for m in maps for v in m.ravel()}, reverse=True):
        points.append((float((normal >= u).mean()), float(np.mean([(r >= u).mean() for r in regions]))))
    area = 0.0
    for (x0, y0), (x1, y1) in zip(points, points[1:]):  # noqa: RUF007
        if x0 < limit:
            end = min(x1, limit)
            y_end = y1 if x1 <= limit else y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@pytest.mark.parametrize("digits", [1, 9])
def test_aupro_by_its_definition(digits: int) -> None:
    """With many equal values and with none; regions of several sizes, pictures without any, corners that touch."""
    rng = np.random.default_rng(1)
    masks = [np.zeros((12, 9), bool) for _ in range(5)]
    masks[0][2:5, 1:4] = masks[0][5, 4] = True  # one region, by a corner
    masks[0][9, 8] = True
    masks[1][:, 0] = True
    masks[2][3:9, 3:9] = True
    maps = [np.round(rng.random((12, 9)) + 0.4 * m, digits) for m in masks]
    pixels = gather_pixels(maps, masks)
    assert pixels.regions.tolist() == [2, 1, 1, 0, 0]
    for limit in (0.05, 0.3, 1.0):
        assert aupro(pixels, limit) == pytest.approx(by_definition(maps, masks, limit), abs=1e-12)
    flat, truth = (np.concatenate([x.ravel() for x in of]) for of in (maps, masks))
    assert pixel_auroc(pixels) == pytest.approx(roc_auc_score(truth, flat))
    found = pixel_summaries(pixels)
    for name, value in (("aupro", aupro(pixels)), ("pixel_auroc", pixel_auroc(pixels))):
        assert found[name].mean == pytest.approx(value)
        assert found[name].low < value < found[name].high
        assert found[name].n == 5


def test_the_ends() -> None:
    mask = np.zeros((4, 4), bool)
    mask[1, 1] = True
    perfect = gather_pixels([mask.astype(float)], [mask])
    assert (aupro(perfect), pixel_auroc(perfect)) == (1.0, 1.0)
    flat = gather_pixels([np.ones((4, 4))], [mask])
    assert pixel_auroc(flat) == 0.5
    assert aupro(flat) == pytest.approx(0.15)  # a straight line to (1, 1)
    assert math.isnan(aupro(gather_pixels([np.ones((4, 4))], [np.zeros((4, 4), bool)])))
