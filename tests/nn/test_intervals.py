"""Codes of intervals and back, and overlaps against a loop."""

from __future__ import annotations

import torch

from audiokd.nn.intervals import from_interval_code, interval_iou, to_interval_code
from audiokd.nn.lengths import rows_by_item


def test_codes_come_back() -> None:
    g = torch.Generator().manual_seed(0)
    start, length, mean_s = torch.rand(3, 50, generator=g, dtype=torch.float64) + 0.1
    intervals = torch.stack([start, start + length], -1)
    points = start + 0.3 * length
    code = to_interval_code(intervals, points, mean_s)
    torch.testing.assert_close(from_interval_code(code, points, mean_s), intervals)
    moved = to_interval_code(intervals + 7, points + 7, mean_s)
    torch.testing.assert_close(moved, code)  # it does not know when it is
    slower = to_interval_code(3 * intervals, 3 * points, 3 * mean_s)
    torch.testing.assert_close(slower, code)
    middle = from_interval_code(torch.zeros(50, 2), points, mean_s)
    torch.testing.assert_close(middle, torch.stack([points - mean_s / 2, points + mean_s / 2], -1))


def test_overlaps() -> None:
    a = torch.tensor([[0.0, 2.0], [0.0, 1.0], [0.0, 4.0], [1.0, 2.0]])
    b = torch.tensor([[1.0, 3.0], [2.0, 3.0], [1.0, 2.0], [1.0, 2.0]])
    torch.testing.assert_close(interval_iou(a, b), torch.tensor([1 / 3, 0, 0.25, 1]))
    torch.testing.assert_close(interval_iou(a, b), interval_iou(b, a))


def test_rows_by_item() -> None:
    values = torch.arange(1.0, 6.0)
    rows, place = rows_by_item(values, torch.tensor([0, 0, 0, 2, 2]), 4)
    assert rows.tolist() == [[1, 2, 3], [0, 0, 0], [4, 5, 0], [0, 0, 0]]
    assert rows.flatten()[place].tolist() == values.tolist()
    empty, place = rows_by_item(values[:0], torch.zeros(0, dtype=torch.long), 2)
    assert empty.shape == (2, 1)
    assert not len(place)
