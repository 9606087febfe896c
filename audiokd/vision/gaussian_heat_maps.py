"""Heat maps of where objects are (CenterNet, arXiv 1904.07850, section 3; CenterPoint, arXiv 2006.11275, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_radius(length: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """How far, in cells, a box's corners may move for it to overlap the true one by `min_overlap` still: least of three cases.

    CornerNet's radius (arXiv 1808.01244) with the root that CenterNet's and CenterPoint's code take: over 2 rather than 2a.

    Args:
        length, width: [N] cells.
        min_overlap: intersection over union.
    """
    total, area, o = length + width, length * width, min_overlap
    cases = (
        (1.0, total, area * (1 - o) / (1 + o)),
        (4.0, 2 * total, (1 - o) * area),
        (4 * o, -2 * o * total, (o - 1) * area),
    )
    found = [(b + (b**2 - 4 * a * c).clamp(min=0).sqrt()) / 2 for a, b, c in cases]
    return torch.stack(found).amin(0)


def draw_gaussians(
    centres: Tensor, radii: Tensor, channel: Tensor, batch: Tensor, shape: tuple[int, int, int, int]
) -> Tensor:
    """exp(-d^2 / 2 s^2) around each cell, s a sixth of the diameter 2 r + 1, cut off at r; the greatest where several lie.

    Args:
        centres: [N, 2] int64, column and row.
        radii: [N] whole cells.
        channel, batch: [N] int64.
        shape: B, C, H, W of the result.
    """
    b, c, h, w = shape
    out = torch.zeros(b * c, h * w, device=centres.device)
    if not len(centres):
        return out.view(shape)
    dx = torch.arange(w, device=centres.device) - centres[:, 0:1]
    dy = torch.arange(h, device=centres.device) - centres[:, 1:2]
    sigma = (2 * radii.float() + 1) / 6
    # a product of two rows: exp(-dx^2) exp(-dy^2)
    rows = [torch.exp(-(d**2).float() / (2 * sigma[:, None] ** 2)) * (d.abs() <= radii[:, None]) for d in (dy, dx)]
    drawn = rows[0][:, :, None] * rows[1][:, None, :]
    # what CenterNet drops: less than the precision of the greatest value
    drawn = torch.where(drawn < torch.finfo(torch.float32).eps, 0.0, drawn)
    index = (batch * c + channel)[:, None].expand(-1, h * w)
    return out.scatter_reduce(0, index, drawn.flatten(1), "amax").view(b, c, h, w)


def whole_radius(length: Tensor, width: Tensor, min_overlap: float, least: int) -> Tensor:
    """`gaussian_radius` in whole cells, `least` at least; [N] int64."""
    return gaussian_radius(length, width, min_overlap).floor().long().clamp(min=least)
