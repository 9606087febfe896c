"""Overlaps of turned boxes against shapely's (benchmarks/rotated_iou.py wrote them), and what has to hold of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiokd.vision.bev_augment import augmentation, move_boxes
from audiokd.vision.rotated_iou import bev_iou, bev_iou_matrix, iou_3d, overlap, suppressed

ROWS = json.loads((Path(__file__).parent / "shapely_iou.json").read_text())


def side(name: str) -> Tensor:
    return torch.tensor([r[name] for r in ROWS], dtype=torch.float64)


def test_shapely_says_the_same() -> None:
    a, b = side("a"), side("b")
    assert (side("bev") > 0.05).sum() > 40
    torch.testing.assert_close(bev_iou(a, b), side("bev"), atol=1e-7, rtol=0)
    torch.testing.assert_close(iou_3d(a, b), side("space"), atol=1e-7, rtol=0)
    torch.testing.assert_close(bev_iou(a.float(), b.float()).double(), side("bev"), atol=1e-5, rtol=0)
    torch.testing.assert_close(bev_iou_matrix(a, b).diagonal(), side("bev"), atol=1e-7, rtol=0)


def test_order_of_pairs_and_place_of_the_scene_change_nothing() -> None:
    a, b = side("a"), side("b")
    torch.testing.assert_close(iou_3d(b, a), side("space"), atol=1e-7, rtol=0)
    move = augmentation(True, False, 0.7, 1.3, (20.0, -5.0, 1.0))
    moved = iou_3d(move_boxes(a, move), move_boxes(b, move))
    torch.testing.assert_close(moved, side("space"), atol=1e-7, rtol=0)
    alone = torch.cat([bev_iou(a[k : k + 1], b[k : k + 1]) for k in range(9)])
    assert torch.equal(alone, bev_iou(a, b)[:9])


def test_overlap_of_two_squares_that_are_turned_against_each_other() -> None:
    """A square and the same by 45 degrees share a regular octagon: 8 (sqrt(2) - 1) r^2 with r half a side."""
    a = torch.tensor([[5.0, -3.0, 0, 2, 2, 1, 0.0]])
    b = a.clone()
    b[:, 6] = math.pi / 4
    assert float(overlap(a, b)) == pytest.approx(8 * (math.sqrt(2) - 1), rel=1e-6)


def test_nothing_and_boxes_without_area() -> None:
    none = torch.zeros(0, 7)
    assert overlap(none, none).shape == (0,)
    flat = torch.tensor([[0.0, 0, 0, 0, 0, 0, 0.4]])
    assert float(iou_3d(flat, flat)) == 0
    assert bev_iou_matrix(none, flat).shape == (0, 1)
    assert suppressed(none, none[:, 0], 0.2).shape == (0,)


def test_of_overlapping_boxes_the_best_stays() -> None:
    boxes = torch.tensor(
        [[0.0, 0, 0, 4, 2, 2, 0], [0.2, 0, 0, 4, 2, 2, 0.1], [10, 0, 0, 4, 2, 2, 0], [1.5, 0.0, 0, 4, 2, 2, 0]]
    )
    scores = torch.tensor([0.5, 0.9, 0.1, 0.4])
    assert suppressed(boxes, scores, 0.2).tolist() == [1, 2]
    # the last overlaps the first two by less than 0.6 each
    assert suppressed(boxes, scores, 0.6).tolist() == [1, 3, 2]
    # a box that was left out leaves none out itself: a chain keeps both ends
    chain = boxes[:1].repeat(3, 1)
    chain[:, 0] = torch.tensor([0.0, 2.0, 4.0])
    assert suppressed(chain, torch.tensor([0.9, 0.8, 0.7]), 0.2).tolist() == [0, 2]
