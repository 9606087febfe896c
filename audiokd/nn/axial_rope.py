"""Rotary positions over several axes (Su et al., arXiv 2104.09864, each axis on its own share of a head's channels).

Of a head's C channels each of A axes turns 2 floor(C / 2A), in pairs: pair i of the n of an axis at position p by the angle
p * BASE^(-i / n). What is left over is not turned. Attention then depends on the differences of positions alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 10_000.0


def rope_angles(positions: Tensor, channels: int) -> Tensor:
    """Angles of tokens.

    Args:
        positions: [..., A], the place of each token on each axis.
        channels: of a head.

    Returns:
        [..., A n], n = channels // 2A pairs an axis, float32.
    """
    pairs = channels // (2 * positions.shape[-1])
    rates = BASE ** (-torch.arange(pairs, device=positions.device, dtype=torch.float32) / max(1, pairs))
    return (positions[..., None].float() * rates).flatten(-2)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """`x` [B, heads, N, C] turned by `angles` [B or 1, N, K], in pairs of channels (k, K + k); channels from 2 K on are left."""
    half = angles.shape[-1]
    cos, sin = angles.cos()[:, None].to(x.dtype), angles.sin()[:, None].to(x.dtype)
    a, b, rest = x.split([half, half, x.shape[-1] - 2 * half], -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], -1)
