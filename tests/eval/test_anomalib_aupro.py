"""AUPRO and pixel AUROC against anomalib's, on the same maps: what it said of them is in anomalib_aupro.json, written by
benchmarks/aupro.py in an environment of anomalib's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from seeded_maps import CASES, LIMITS, seeded_maps

from audiokd.eval.anomaly_pixels import aupro, gather_pixels, pixel_auroc

RECORDED = json.loads((Path(__file__).parent / "anomalib_aupro.json").read_text())
#: anomalib adds up in float32; audiokd in float64
TOLERANCE = 1e-6


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_anomalibs(name: str) -> None:
    """Many equal values, some and none; regions that touch at a corner are one, in both."""
    maps, masks = seeded_maps(name)
    theirs = RECORDED["cases"][name]
    assert float(maps.astype("float64").sum()) == pytest.approx(theirs["sum"], rel=1e-12)  # the maps it was given
    pixels = gather_pixels(list(maps), list(masks))
    for limit in LIMITS:
        assert aupro(pixels, limit) == pytest.approx(theirs["aupro"][str(limit)], abs=TOLERANCE), limit
    assert pixel_auroc(pixels) == pytest.approx(theirs["pixel_auroc"], abs=TOLERANCE)


def test_the_maps_are_hard_enough() -> None:
    """Each score says something: none is near 0, 1 or what chance has."""
    for name in CASES:
        assert 0.2 < RECORDED["cases"][name]["aupro"]["0.3"] < 0.9
    regions = [gather_pixels(list(maps), list(masks)).regions for maps, masks in map(seeded_maps, CASES)]
    assert all(r[-1] == 0 and r.sum() > 5 for r in regions)
