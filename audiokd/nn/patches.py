"""A picture, a clip or a spectrogram as a row of patches, and where each of them stands."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def to_patches(x: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut a grid into patches, the last axis fastest.

    Args:
        x: [B, C, S1, ..., SA]; a clip is [B, 3, T, H, W], a spectrogram [B, 1, F, T].
        patch: size along each of the A axes; what is left over at an axis' end is dropped.

    Returns:
        [B, N, C p1 ... pA], N the product of `grid_of`.
    """
    grid = grid_of(x.shape[2:], patch)
    for axis, (n, p) in enumerate(zip(grid, patch), 2):
        x = x.narrow(axis, 0, n * p)
    x = x.reshape(*x.shape[:2], *(size for pair in zip(grid, patch) for size in pair))
    a = len(grid)
    order = [0, *(2 + 2 * k for k in range(a)), 1, *(3 + 2 * k for k in range(a))]
    return x.permute(order).reshape(len(x), math.prod(grid), -1)


def grid_of(sizes: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Whole patches along each axis."""
    return tuple(s // p for s, p in zip(sizes, patch))


def grid_positions(grid: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """The place of each patch on each axis, [1, N, A], in the order of `to_patches`."""
    axes = torch.meshgrid(*(torch.arange(n, device=device) for n in grid), indexing="ij")
    return torch.stack([a.flatten() for a in axes], -1)[None]
