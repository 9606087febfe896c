"""Statistics over the time of an item's own frames, whatever it is padded to."""

from __future__ import annotations

import torch
from torch import Tensor

from audiokd.nn.lengths import length_mask


def normed_over_time(x: Tensor, lengths: Tensor, eps: float) -> Tensor:
    """[B, C, T] with mean 0 and variance 1 over each item's first `lengths` [B] positions, a channel at a time."""
    mask = length_mask(lengths, x.shape[-1])[:, None]
    n = lengths.clamp(min=1)[:, None, None]
    centred = x - (x * mask).sum(-1, keepdim=True) / n
    variance = (centred.square() * mask).sum(-1, keepdim=True) / n
    return centred * torch.rsqrt(variance + eps)
