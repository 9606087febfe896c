"""Causal convolutions, and the cache that lets them run on a stream in chunks.

All padding is on the left: an output depends on its own and earlier inputs only. In a stream the last inputs of a chunk
take the place of that padding for the next one, so chunked == whole and nothing is computed twice (2005.06720).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.nn.weight_norm import WNConv1d, WNConvTranspose1d


class Cache:
    """What the layers of a causal network keep from one chunk for the next, in the order in which the layers run.

    Args:
        state: `Cache.state` after the chunk before; None starts a stream. Its tensors are never written to.
    """

    def __init__(self, state: tuple[Tensor, ...] | None = None):
        self._old, self._new = state, []  # type: tuple[Tensor, ...] | None, list[Tensor]

    @property
    def state(self) -> tuple[Tensor, ...]:
        """What to start the next chunk with."""
        return tuple(self._new)

    def take(self) -> Tensor | None:
        """What the layer now running kept from the chunk before; the layer must `keep` something next."""
        return None if self._old is None else self._old[len(self._new)]

    def keep(self, x: Tensor) -> None:
        """Hand `x` to the same layer in the next chunk (a copy: a view would hold the whole chunk)."""
        self._new.append(x.clone())

    def before(self, x: Tensor, n: int) -> Tensor:
        """`x` [..., T] with the `n` frames before it, zeros at the start of the stream: [..., n + T]."""
        past = self.take()
        x = torch.cat([x.new_zeros(*x.shape[:-1], n) if past is None else past, x], -1)
        self.keep(x[..., x.shape[-1] - n :])
        return x


def pad_left(x: Tensor, n: int, cache: Cache | None) -> Tensor:
    """`x` [..., T] with `n` frames before it: zeros, or in a stream what came before."""
    if n == 0:
        return x
    return F.pad(x, (n, 0)) if cache is None else cache.before(x, n)


class CausalWNConv1d(WNConv1d):
    """Conv1d padded with k_eff - stride frames on the left, and on the right up to whole strides: ceil(T / stride) frames.

    Shape: [B, C_in, T] -> [B, C_out, ceil(T / stride)].
    """

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int = 1, dilation: int = 1):
        super().__init__(c_in, c_out, kernel_size, stride, 0, dilation)
        self.context = (kernel_size - 1) * dilation + 1 - stride

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        ragged = x.shape[-1] % self.stride[0]
        x = pad_left(x, self.context, cache)
        return super().forward(F.pad(x, (0, self.stride[0] - ragged)) if ragged else x)


class CausalWNConvTranspose1d(WNConvTranspose1d):
    """ConvTranspose1d of kernel 2s and stride s, cut on the right: a frame and the one before it make the frame's s samples.

    Shape: [B, C_in, T] -> [B, C_out, s T].
    """

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__(c_in, c_out, 2 * stride, stride, 0)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        stride, size = self.stride[0], x.shape[-1] * self.stride[0]
        if cache is None:
            return super().forward(x)[..., :size]
        return super().forward(cache.before(x, 1))[
            ..., stride : stride + size
        ]  # without the frame before's own samples
