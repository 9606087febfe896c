"""Boxes as numbers that a network can give: x, y, z, log length, log width, log height, sin and cos of the yaw."""

from __future__ import annotations

import torch
from torch import Tensor

CODE = 8  # numbers of a box
LARGEST = 5.0  # of a logarithm that is decoded: 148 m; what a network gives at first may be anything


def to_code(boxes: Tensor) -> Tensor:
    """[..., 8] of `boxes` [..., >= 7] (x, y, z, length, width, height, yaw, ...), whose sides are above 0."""
    yaw = boxes[..., 6:7]
    return torch.cat([boxes[..., :3], boxes[..., 3:6].log(), yaw.sin(), yaw.cos()], -1)


def from_code(code: Tensor) -> Tensor:
    """[..., 7] of `code` [..., 8]; the yaw is in (-pi, pi]."""
    yaw = torch.atan2(code[..., 6], code[..., 7])[..., None]
    return torch.cat([code[..., :3], code[..., 3:6].clamp(-LARGEST, LARGEST).exp(), yaw], -1)
