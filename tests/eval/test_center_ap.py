"""The nuScenes detection score against nuscenes-devkit's on the same boxes: what it said of them is in devkit_scores.json,
written by benchmarks/center_ap.py in an environment of the devkit's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from seeded_boxes import CASES, NAMES, seeded_boxes

from audiokd.eval.boxes3d import box_table, score_frames
from audiokd.eval.center_ap import DISTANCES_M, Boxes, match_frame, score_class

RECORDED = json.loads((Path(__file__).parent / "devkit_scores.json").read_text())
THEIRS = {"ate": "trans_err", "ase": "scale_err", "aoe": "orient_err", "ave": "vel_err", "aae": "attr_err"}


def sides(case: str) -> tuple[dict[str, Boxes], dict[str, Boxes]]:
    frames = seeded_boxes(case)
    truth = {i: Boxes(**f["truth"]) for i, f in frames.items()}
    return truth, {i: Boxes(**f["found"]) for i, f in frames.items()}


@pytest.mark.parametrize("case", CASES)
def test_the_same_as_the_devkits(case: str) -> None:
    theirs = RECORDED["cases"][case]
    truth, found = sides(case)
    total = sum(np.nansum(b.boxes) for side in (truth, found) for b in side.values())
    assert total == pytest.approx(theirs["sum"], rel=1e-12)  # the boxes it was given
    ours = score_frames(truth, found, NAMES, {i: i for i in truth})
    assert ours["scores"]["map"]["mean"] == pytest.approx(theirs["map"], abs=1e-9)
    assert ours["scores"]["nds"]["mean"] == pytest.approx(theirs["nds"], abs=1e-9)
    for error, name in THEIRS.items():
        assert ours["scores"][error]["mean"] == pytest.approx(theirs["errors"][name], abs=1e-9), error
    for label, of in theirs["classes"].items():
        got = ours["classes"][label]
        assert [got[f"ap_{d:g}m"] for d in DISTANCES_M] == pytest.approx(of["aps"], abs=1e-9), label
        for error, name in THEIRS.items():
            want = of["errors"][name]
            assert (got[error] is None) == (want is None), (label, error)
            assert want is None or got[error] == pytest.approx(want, abs=1e-9), (label, error)


def test_the_boxes_are_hard_enough() -> None:
    """No score is at an end of its scale, and the odd case has classes that have no true or no found box."""
    for case in ("near", "noisy"):
        assert 0.1 < RECORDED["cases"][case]["map"] < 0.9
        assert all(0.01 < v < 2 for v in RECORDED["cases"][case]["errors"].values())
    odd = RECORDED["cases"]["odd"]["classes"]
    assert [n for n, c in odd.items() if not any(c["aps"])] == ["bus", "bicycle", "traffic_cone", "barrier"]


def test_without_velocity_and_without_attributes() -> None:
    """Perfect boxes score 1 but for what the truth does not have: NDS counts it as wrong, the other leaves it out."""
    truth, _ = sides("near")
    bare = {i: Boxes(np.where(np.arange(9) > 6, np.nan, b.boxes), b.labels) for i, b in truth.items()}
    found = {i: Boxes(b.boxes, b.labels, np.ones(len(b.boxes))) for i, b in bare.items()}
    scores = score_frames(bare, found, NAMES, {i: "one drive" for i in bare})["scores"]
    assert scores["map"]["mean"] == pytest.approx(1)
    assert scores["nds"]["mean"] == pytest.approx(0.8)
    assert scores["nds_without_velocity"]["mean"] == pytest.approx(1)
    assert (scores["ave"]["mean"], scores["aae"]["mean"], scores["ate"]["mean"]) == (1, 1, 0)
    assert scores["map"]["low"] is None  # one drive has no spread


def test_intervals_are_over_drives() -> None:
    truth, found = sides("noisy")
    apart = score_frames(truth, found, NAMES, {i: i for i in truth})["scores"]["map"]
    halves = score_frames(truth, found, NAMES, {i: "a" if i[-1:] < "5" else "b" for i in truth})["scores"]["map"]
    assert apart["low"] < apart["mean"] < apart["high"]
    assert (apart["n"], halves["n"]) == (len(truth), 2)
    assert apart["mean"] == halves["mean"]


def test_a_frame_that_is_not_there_has_found_nothing() -> None:
    truth, found = sides("near")
    less = dict(list(found.items())[:6])
    empty = {i: less.get(i, Boxes(np.zeros((0, 9)), np.zeros(0, int), np.zeros(0))) for i in truth}
    scenes = {i: "a" for i in truth}
    assert score_frames(truth, less, NAMES, scenes) == score_frames(truth, empty, NAMES, scenes)


def test_each_object_is_taken_once_by_the_best_score() -> None:
    truth = Boxes(np.array([[0, 0, 0, 4, 2, 2, 0, 0, 0], [10, 0, 0, 4, 2, 2, 0, 0, 0.0]]), np.zeros(2, int))
    said = np.repeat(truth.boxes[:1], 3, 0)
    said[:, 0] = [0.3, 0.1, 8.5]
    (match,) = match_frame(truth, Boxes(said, np.zeros(3, int), np.array([0.9, 0.5, 0.4])), ["car"])
    assert match.true == 2
    assert match.hits.tolist() == [[True] * 4, [False] * 4, [False, False, True, True]]
    assert match.errors[0, 0] == pytest.approx(0.3)
    assert match.errors[2, 0] == pytest.approx(1.5)
    score = score_class([match], "car")
    assert score.aps[0] < score.aps[2] < 1


def test_the_table() -> None:
    truth, found = sides("near")
    result = score_frames(truth, found, NAMES, {i: i for i in truth})
    headers, rows = box_table(result)
    assert [r[0] for r in rows] == ["all", *NAMES]
    assert all(len(r) == len(headers) for r in rows)
    cone = dict(zip(headers, rows[1 + NAMES.index("traffic_cone")]))
    assert (cone["AOE ↓"], cone["AVE ↓"], cone["AAE ↓"]) == ("-", "-", "-")
