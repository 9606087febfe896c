"""Lengths and masks of padded batches: what keeps an item's output free of its batch mates."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def conv_length(n, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1):
    """Frames that a convolution gives for `n` frames (int or integer tensor; never below 0)."""
    out = (n + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1
    return out.clamp(min=0) if isinstance(out, Tensor) else max(out, 0)


def conv_transpose_length(n, kernel_size: int, stride: int, padding: int):
    """Frames that a transposed convolution gives for `n` frames (0 stays 0)."""
    out = (n - 1) * stride - 2 * padding + kernel_size
    return torch.where(n > 0, out, 0) if isinstance(out, Tensor) else (out if n > 0 else 0)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Bool `[B, size]`, True at positions below each item's length."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def zero_beyond(x: Tensor, lengths: Tensor | None) -> Tensor:
    """`x` [B, C, T] with everything at or past each item's length set to 0; `None` leaves it as it is.

    A convolution pads with zeros past the end of a clip. In a batch padded to the longest, activations there are not zero
    any more after a bias or a neighbouring tap; putting the zeros back before each convolution makes batch == alone.
    """
    if lengths is None:
        return x
    return x.masked_fill(~length_mask(lengths, x.shape[-1])[:, None], 0.0)


def fit_length(x: Tensor, size: int) -> Tensor:
    """`x` [..., T] cut or zero-padded on the right to [..., size]."""
    return F.pad(x, (0, size - x.shape[-1]))


def stack_padded(items: list[Tensor]) -> Tensor:
    """Items [..., T] of unequal T, zero-padded on the right to the longest: [B, ..., T]."""
    size = max(x.shape[-1] for x in items)
    return torch.stack([fit_length(x, size) for x in items])


def rows_by_item(values: Tensor, whose: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`values` [N, ...] as [B, M, ...], 0 behind an item's own, and where they came from: [N] int64, places in [B M]."""
    sizes = torch.bincount(whose, minlength=count)
    most = max(int(sizes.max()), 1) if len(whose) else 1
    starts = sizes.cumsum(0) - sizes
    place = whose * most + torch.arange(len(whose), device=whose.device) - starts[whose]
    out = values.new_zeros(count * most, *values.shape[1:])
    out[place] = values
    return out.view(count, most, *values.shape[1:]), place
