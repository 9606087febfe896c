"""Intervals of box scores over drives: a class that a draw happens not to have is no class that was missed."""

from __future__ import annotations

import numpy as np
import pytest

from audiokd.eval.boxes3d import score_frames
from audiokd.eval.center_ap import Boxes


def boxes(*labels: int) -> Boxes:
    """As many boxes apart from one another, all seen."""
    rows = np.array([[5.0 * k, 3, 0, 4, 2, 1.5, 0.1, 0, 0] for k in range(len(labels))]).reshape(-1, 9)
    return Boxes(rows, np.array(labels, int), np.linspace(0.9, 0.5, len(labels)))


@pytest.mark.parametrize(("names", "value"), [(("car", "bus"), 1.0), (("car", "bus", "truck"), 2 / 3)])
def test_a_class_that_a_draw_lacks(names: tuple[str, ...], value: float) -> None:
    """All is found; a bus stands in one drive of four, which a third of the draws do not have; a truck, if any, nowhere."""
    truth = {"a": boxes(0, 0, 1), "b": boxes(0, 0), "c": boxes(0), "d": boxes(0, 0, 0)}
    scores = score_frames(truth, truth, names, {k: k for k in truth})["scores"]
    assert [scores["map"][k] for k in ("mean", "low", "high")] == pytest.approx([value] * 3)
    assert [scores["ate"][k] for k in ("low", "high")] == pytest.approx([scores["ate"]["mean"]] * 2)


def test_what_is_missed_is_spread_over_drives() -> None:
    truth = {k: boxes(0, 0) for k in "abcd"}
    found = truth | {"d": Boxes(np.zeros((0, 9)), np.zeros(0, int), np.zeros(0))}
    scores = score_frames(truth, found, ("car",), {k: k for k in truth})["scores"]["map"]
    assert scores["low"] < scores["mean"] < scores["high"]
    # drives of which some have nothing at all
    empty = score_frames({"a": boxes(0), "b": boxes()}, {}, ("car",), {"a": "a", "b": "b"})["scores"]["map"]
    assert [empty[k] for k in ("mean", "low", "high")] == [0.0, 0.0, 0.0]
