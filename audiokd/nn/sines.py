"""Numbers as sines of many frequencies: how a query is told where something is and how large (DETR, arXiv 2005.12872)."""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = 10000.0


def sines(values: Tensor, size: int) -> Tensor:
    """[..., size]: sin and cos in turn of `values` [...] at falling frequencies, the first of them 1; `size` is even."""
    k = torch.arange(size // 2).to(values)
    angle = values[..., None] / TEMPERATURE ** (2 * k / size)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)
