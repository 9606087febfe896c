"""Pseudo labels held against the truth: pairs, IoU, errors, bands of distance, classes by points."""

from __future__ import annotations

import numpy as np
import pytest

from audiokd.eval.center_ap import Boxes
from audiokd.eval.pseudo_quality import quality_table, score_pseudo

NAMES = ("car", "cone")


def upright_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """3-D IoU of pairs of boxes that do not turn: the plain product of overlaps."""
    low = np.maximum(a[:, :3] - a[:, 3:6] / 2, b[:, :3] - b[:, 3:6] / 2)
    high = np.minimum(a[:, :3] + a[:, 3:6] / 2, b[:, :3] + b[:, 3:6] / 2)
    common = np.clip(high - low, 0, None).prod(-1)
    return common / (a[:, 3:6].prod(-1) + b[:, 3:6].prod(-1) - common)


def box(x: float, y: float = 0.0, size: float = 2.0) -> list[float]:
    return [x, y, 0, size, size, size, 0, 0, 0]


TRUTH = {
    "a": Boxes(np.array([box(5), box(15), box(25)]), np.array([0, 0, 1]), num_points=np.array([30, 5, 4])),
    "b": Boxes(np.array([box(6, 3)]), np.array([1]), num_points=np.array([0])),
}


def test_in_order() -> None:
    said = np.array([box(5), box(16), box(25, 3)])
    found = {"a": Boxes(said, np.array([0, 0, 0]), np.ones(3)), "b": Boxes(np.array([box(6, 3, 1)]), np.array([1]))}
    result = score_pseudo(TRUTH, found, NAMES, upright_iou, (10, 20), per_mark=True)
    assert result["in_order"]
    # 1 m off of 2 m: 4 of 12 cubic metres; half the size: 1 of 8
    assert result["all"]["iou"] == pytest.approx((1 + 1 / 3 + 0 + 1 / 8) / 4)
    assert result["all"]["centre_error_m"] == pytest.approx((0 + 1 + 3 + 0) / 4)
    assert (result["all"]["recall"], result["all"]["recall_2m"], result["all"]["label_accuracy"]) == (0.25, 0.75, 0.75)
    assert {n: of["objects"] for n, of in result["by_range"].items()} == {"0-10 m": 2, "10-20 m": 1, "20+ m": 1}
    assert {n: of["objects"] for n, of in result["by_points"].items()} == {"0-4": 2, "5-19": 1, "20+": 1}
    assert result["by_points"]["5-19"]["iou"] == pytest.approx(1 / 3)
    assert result["by_class"]["car"]["objects"] == 2
    headers, rows = quality_table(result)
    assert [r[0] for r in rows] == [
        "all", "0-10 m", "10-20 m", "20+ m", "0-4 points", "5-19 points", "20+ points", "car", "cone",
    ]  # fmt: skip
    assert all(len(r) == len(headers) for r in rows)


def test_a_detectors_boxes_take_the_nearest_object() -> None:
    """The better score first, one object each, of its class, within 2 m; an object without a box has an IoU of 0."""
    said = np.array([box(5.5), box(5), box(15.5), box(24.9)])
    found = {
        "a": Boxes(said, np.array([0, 0, 0, 0]), np.array([0.9, 0.8, 0.3, 0.5])),
        "b": Boxes(np.zeros((0, 9)), np.zeros(0, int)),
    }
    result = score_pseudo(TRUTH, found, NAMES, upright_iou, (10, 20))
    assert not result["in_order"]
    assert (result["all"]["objects"], result["all"]["boxes"]) == (4, 2)
    assert result["all"]["iou"] == pytest.approx((0.6 + 0.6 + 0 + 0) / 4)
    assert result["all"]["centre_error_m"] == pytest.approx(0.5)
    assert result["by_class"]["cone"]["centre_error_m"] is None
    assert result["by_class"]["cone"]["recall_2m"] == 0


def test_who_gives_a_box_a_mark_is_told_and_not_guessed() -> None:
    """A detector that happens to find as many boxes as there are objects gives them in no order."""
    order = [1, 0, 2]
    found = {
        "a": Boxes(TRUTH["a"].boxes[order], TRUTH["a"].labels[order], np.array([0.9, 0.8, 0.7])),
        "b": Boxes(TRUTH["b"].boxes, TRUTH["b"].labels, np.ones(1)),
    }
    result = score_pseudo(TRUTH, found, NAMES, upright_iou, (10, 20))
    assert not result["in_order"]
    assert result["all"]["iou"] == 1
    assert score_pseudo(TRUTH, found, NAMES, upright_iou, (10, 20), per_mark=True)["all"]["iou"] == 0.5


def test_objects_are_left_out_by_their_own_place_and_after_pairing() -> None:
    """Boxes on the other side of the border than their objects neither change the order nor are lost."""
    said = np.array([box(6), box(14), box(16)])
    truth = {"a": Boxes(np.array([box(5), box(16), box(14.5)]), np.zeros(3, int))}
    found = {"a": Boxes(said, np.zeros(3, int), np.ones(3))}
    result = score_pseudo(truth, found, NAMES, upright_iou, (10, 20), per_mark=True, within_m=15)
    assert result["in_order"]
    assert (result["all"]["objects"], result["all"]["boxes"], result["outside"]) == (2, 2, 0)
    assert result["all"]["centre_error_m"] == pytest.approx((1 + 1.5) / 2)
    nearest = score_pseudo(truth, found, NAMES, upright_iou, (10, 20), within_m=15)
    assert (nearest["all"]["objects"], nearest["all"]["centre_error_m"]) == (2, pytest.approx((1 + 0.5) / 2))
    seen = score_pseudo(truth, found, NAMES, upright_iou, (10, 20), per_mark=True, inside=lambda of: of[:, 0] < 15)
    assert (seen["all"]["objects"], seen["outside"], seen["in_order"]) == (2, 1, True)


def test_frames_that_are_not_there_are_left_out() -> None:
    found = {"a": TRUTH["a"]}
    result = score_pseudo(TRUTH, found, NAMES, upright_iou, (10, 20))
    assert (result["frames"], result["all"]["objects"], result["all"]["iou"]) == (1, 3, 1)
    nothing = score_pseudo(TRUTH, {}, NAMES, upright_iou, (10, 20))
    assert (nothing["all"]["objects"], nothing["all"]["iou"]) == (0, None)
