"""Boxes in space: x, y, z of the centre, length, width, height, yaw counter-clockwise from x; metres and radians."""

from __future__ import annotations

import torch
from torch import Tensor

#: corners of a box of sides 1, counter-clockwise from the front left as seen from above; the lower four, then the upper four
FOOT = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))


def turned(xy: Tensor, yaw: Tensor) -> Tensor:
    """`xy` [..., 2] turned counter-clockwise by `yaw` [...]."""
    cos, sin = yaw.cos(), yaw.sin()
    return torch.stack([cos * xy[..., 0] - sin * xy[..., 1], sin * xy[..., 0] + cos * xy[..., 1]], -1)


def foot(boxes: Tensor) -> Tensor:
    """[N, 4, 2]: corners on the ground of `boxes` [N, >= 7], counter-clockwise."""
    return placed(boxes, boxes.new_tensor(FOOT))


def placed(boxes: Tensor, grid: Tensor) -> Tensor:
    """[..., G, 2]: where points `grid` [G, 2] of a box of sides 1 (x along the length) lie on the ground in `boxes` [..., >= 7]."""
    local = grid * boxes[..., None, 3:5]
    return boxes[..., None, :2] + turned(local, boxes[..., 6:7].expand(local.shape[:-1]))


def corners(boxes: Tensor) -> Tensor:
    """[..., 8, 3]: corners of `boxes` [..., >= 7], the lower four first."""
    xy = placed(boxes, boxes.new_tensor(FOOT))
    half = boxes[..., None, 5:6] / 2
    low, high = (torch.cat([xy, (boxes[..., None, 2:3] + s * half).expand_as(xy[..., :1])], -1) for s in (-1, 1))
    return torch.cat([low, high], -2)


def roi_grid(side: int, like: Tensor) -> Tensor:
    """[side^2, 2]: a regular grid over a box of sides 1, its outer points on the border."""
    at = torch.linspace(-0.5, 0.5, side, dtype=like.dtype, device=like.device)
    return torch.stack([at.repeat_interleave(side), at.repeat(side)], -1)
