"""Intervals of time as a teacher says them: where from a point the middle lies, and how long it is, in parts of a mean duration."""

from __future__ import annotations

import torch
from torch import Tensor

LONGEST = 4.0  # a code's logarithm of the length is held within so much either way: e^4 is 55 times the mean


def to_interval_code(intervals: Tensor, points: Tensor, mean_s: Tensor) -> Tensor:
    """[..., 2]: from the point to the middle in parts of `mean_s`, and the logarithm of the length over `mean_s`.

    Args:
        intervals: [..., 2] onset and offset, seconds.
        points: [...] seconds.
        mean_s: [...] mean length of the class.
    """
    start, end = intervals.unbind(-1)
    return torch.stack([((start + end) / 2 - points) / mean_s, ((end - start) / mean_s).log()], -1)


def from_interval_code(code: Tensor, points: Tensor, mean_s: Tensor) -> Tensor:
    """[..., 2] onset and offset, seconds; the inverse of `to_interval_code`. A code of 0 is the mean length around the point."""
    middle = points + code[..., 0] * mean_s
    half = mean_s * code[..., 1].clamp(-LONGEST, LONGEST).exp() / 2
    return torch.stack([middle - half, middle + half], -1)


def interval_iou(a: Tensor, b: Tensor) -> Tensor:
    """[...] intersection over union of intervals [..., 2] with those of the same place; 0 where they do not meet."""
    both = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    return both / ((a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - both).clamp(min=1e-9)
