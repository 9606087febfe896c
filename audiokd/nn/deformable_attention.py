"""What multi-scale deformable attention gathers (Deformable DETR, arXiv 2010.04159, equation 3), by `grid_sample`; maps by head,
and how its layers begin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def deformable_gather(maps: Sequence[Tensor], places: Tensor, weights: Tensor) -> Tensor:
    """Sum over levels l and samples p of weight times the map's value at the place, between four cells, 0 beyond the border.

    Args:
        maps: of each level [B, heads, C, H_l, W_l].
        places: [B, Q, heads, levels, P, 2], x and y as parts of a map: 0 is the left or upper border, 1 the other.
        weights: [B, Q, heads, levels, P].

    Returns:
        [B, Q, heads * C].
    """
    b, q, heads, _, p, _ = places.shape
    grid = (2 * places - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # [levels, B heads, Q, P, 2]
    scale = weights.permute(3, 0, 2, 1, 4).reshape(len(maps), b * heads, 1, q, p)
    out: Tensor | int = 0
    for level, x in enumerate(maps):
        found = F.grid_sample(x.flatten(0, 1), grid[level], mode="bilinear", padding_mode="zeros", align_corners=False)
        out = out + (found * scale[level]).sum(-1)  # [B heads, C, Q]
    assert isinstance(out, torch.Tensor)
    return out.view(b, -1, q).transpose(1, 2)


def by_head(value: nn.Linear, x: Tensor, heads: int) -> Tensor:
    """A map [B, D, H, W] through `value`, as [B, heads, D / heads, H, W]."""
    b, d, h, w = x.shape
    return value(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(b, heads, d // heads, h, w)


def begin_alike(layer: nn.Linear, bias: Tensor | None = None) -> None:
    """No difference of queries at first: weights 0, and `bias`, or 0."""
    nn.init.zeros_(layer.weight)
    if bias is None:
        nn.init.zeros_(layer.bias)
    else:
        with torch.no_grad():
            layer.bias.copy_(bias.flatten())
