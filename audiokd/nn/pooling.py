"""Means over what counts: of frames of one rate onto frames of another, and of the words of a text."""

from __future__ import annotations

import torch
from torch import Tensor

from audiokd.nn.lengths import length_mask


def pool_frames(x: Tensor, lengths: Tensor, rate: float, new_rate: float) -> tuple[Tensor, Tensor]:
    """Mean of `x` over the time that each frame of the new rate covers, weighted by overlap; repeats where it is faster.

    Args:
        x: [B, N, D] frames at `rate` a second.
        lengths: [B] frames that count; the others never enter a mean.
        rate, new_rate: frames a second.

    Returns:
        [B, T, D] at `new_rate` and lengths [B], ceil(n new_rate / rate); zero past an item's length. An item is the same
        alone and in any batch.
    """
    frames = torch.ceil(lengths * (new_rate / rate) - 1e-6).long()  # 4 frames of 50 Hz are one of 12.5 Hz, not two
    edge = torch.arange(x.shape[1], device=x.device, dtype=torch.float64) / rate
    new_edge = torch.arange(int(frames.max()), device=x.device, dtype=torch.float64)[:, None] / new_rate
    start, stop = torch.maximum(edge, new_edge), torch.minimum(edge + 1 / rate, new_edge + 1 / new_rate)
    overlap = (stop - start).clamp(min=0).mul(rate).to(x.dtype)  # [T, N], in frames of x
    mask = length_mask(lengths, x.shape[1]).to(x.dtype)
    weight = overlap @ mask.T  # [T, B]
    mean = torch.einsum("tn,bnd->btd", overlap, x * mask[..., None]) / weight.T[..., None].clamp(min=1e-6)
    return mean * length_mask(frames, mean.shape[1])[..., None], frames


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean [B, D] of `x` [B, N, D] over the places where `mask` [B, N] is not 0; zeros where there is none."""
    weight = mask.to(x.dtype)
    return torch.einsum("bnd,bn->bd", x, weight) / weight.sum(1, keepdim=True).clamp(min=1)
