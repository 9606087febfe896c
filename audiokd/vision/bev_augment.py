"""A scene mirrored, turned, scaled and shifted as a whole: points, boxes, marks and cameras together; and the way back."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.vision.bev_grid import BevGrid


def augmentation(flip_x: bool, flip_y: bool, angle: float, scale: float, shift: tuple[float, float, float]) -> Tensor:
    """[4, 4] float64: mirror, then turn, then scale, then shift.

    Args:
        flip_x: x becomes -x.
        flip_y: y becomes -y.
        angle: radians, counter-clockwise.
        scale: factor.
        shift: metres.
    """
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    fx, fy = (-1.0 if flip_x else 1.0), (-1.0 if flip_y else 1.0)
    rows = [
        [cos * fx, -sin * fy, 0, shift[0]],
        [sin * fx, cos * fy, 0, shift[1]],
        [0, 0, scale, shift[2]],
        [0, 0, 0, 1],
    ]
    return torch.tensor(rows, dtype=torch.float64)


def move_points(points: Tensor, matrix: Tensor) -> Tensor:
    """`points` [..., N, >= 3] where `matrix` [..., 4, 4] brings them; what stands behind x, y, z stays. Marks are points."""
    m = matrix.to(points)
    return torch.cat([points[..., :3] @ m[..., :3, :3].transpose(-1, -2) + m[..., None, :3, 3], points[..., 3:]], -1)


def move_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """`boxes` [..., N, 7 or 9] where `matrix` [..., 4, 4] of `augmentation` brings them: sides scaled, yaw and speed turned.

    A mirrored box has the same corners: one yaw of the two that differ by pi.
    """
    m = matrix.to(boxes)
    scale = _scale(m)[..., None, None]
    yaw = boxes[..., 6]
    ahead = torch.stack([yaw.cos(), yaw.sin()], -1) @ m[..., :2, :2].transpose(-1, -2)
    parts = [
        move_points(boxes[..., :3], m),
        boxes[..., 3:6] * scale,
        torch.atan2(ahead[..., 1], ahead[..., 0])[..., None],
    ]
    if boxes.shape[-1] > 7:
        parts.append(boxes[..., 7:9] @ m[..., :2, :2].transpose(-1, -2))
    return torch.cat(parts, -1)


def move_cameras(to_camera: Tensor, matrix: Tensor) -> Tensor:
    """`to_camera` [..., C, 4, 4] of the moved scene: what a camera saw it sees still, in the same pixels."""
    m = matrix.to(to_camera)
    back = torch.linalg.inv(m)
    return to_camera @ back[..., None, :, :]


def undo_on_map(maps: Tensor, matrices: Tensor, grid: BevGrid) -> tuple[Tensor, Tensor]:
    """Maps of moved scenes as they lie on the scenes before, between four cells.

    Args:
        maps: [B, C, H, W] over the whole of `grid`.
        matrices: [B, 4, 4] that moved the scenes; only x and y are looked at.
        grid: what the maps cover.

    Returns:
        [B, C, H, W], 0 where the moved map has no cell; and which cells have one, bool [B, H, W].
    """
    h, w = maps.shape[-2:]
    at = grid.centres(h, w, maps)
    m = matrices.to(maps)
    moved = torch.einsum("bij,hwj->bhwi", m[:, :2, :2], at) + m[:, None, None, :2, 3]
    where = grid.relative(moved)
    there = ((where >= 0) & (where <= 1)).all(-1)
    out = F.grid_sample(maps, 2 * where - 1, mode="bilinear", padding_mode="zeros", align_corners=False)
    return out, there


def _scale(matrix: Tensor) -> Tensor:
    return matrix[..., :2, 0].norm(dim=-1)
