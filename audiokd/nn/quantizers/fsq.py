"""Finite scalar quantisation (https://arxiv.org/abs/2309.15505): each channel is rounded to a few levels, no codebook.

b = tanh(W_in z + shift) (L - 1)(1 + eps)/2 - offset,   z_q = W_out (round(b) / floor(L/2)),   straight-through
code = sum_i (round(b_i) + floor(L_i/2)) prod_{j<i} L_j;   even L: offset 1/2 and shift atanh(offset / half) centre the levels
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audiokd.nn.weight_norm import WNConv1d, zero_biases

EPS = 1e-3  # keeps the outermost levels in reach of tanh, as in the paper's code


class FSQ(nn.Module):
    """One stream of prod(levels) codes, with VectorQuantizer's interface; both losses are 0, there is nothing to learn.

    Args:
        dim: channels of the latent.
        levels: of each projected channel, above 1.
    """

    def __init__(self, dim: int, levels: Sequence[int]):
        super().__init__()
        self.levels, self.codebook_size = tuple(levels), math.prod(levels)
        self.in_proj = WNConv1d(dim, len(levels), 1)
        self.out_proj = WNConv1d(len(levels), dim, 1)
        zero_biases(self)

    def forward(self, z: Tensor, bypass: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Quantise `z` [B, D, T]; `bypass` [B] leaves the rounding of an item out. Returns as VectorQuantizer.forward."""
        z_e = self.in_proj(z)
        bounded = self.bound(z_e)
        rounding = (bounded.round() - bounded).detach()
        codes = self._index(bounded.round())
        if bypass is not None:
            rounding = rounding.masked_fill(bypass[:, None, None], 0.0)
        half = self._row(n // 2 for n in self.levels).to(z_e)
        zero = z.new_zeros(z.shape[0])
        return self.out_proj(((bounded + rounding) / half).to(z_e.dtype)), codes, zero, zero, z_e

    def encode(self, z: Tensor) -> Tensor:
        """`z` [B, D, T] -> codes [B, T]."""
        return self._index(self.bound(self.in_proj(z)).round())

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, T] -> [B, D, T]."""
        levels = self._row(self.levels).to(codes.device)
        half = levels // 2
        digits = codes[:, None] // self._row(self._basis).to(codes.device) % levels
        return self.out_proj(((digits - half) / half).to(self.out_proj.bias.dtype))

    def margin(self, z: Tensor) -> Tensor:
        """How far the nearest channel is from changing its level, 0 to 1 of half a level [B, T]: near 0 is a near tie."""
        bounded = self.bound(self.in_proj(z))
        return (1 - 2 * (bounded - bounded.round()).abs()).amin(1)

    def bound(self, z_e: Tensor) -> Tensor:
        """Projected latents [B, d, T] to between the outermost levels, in float32."""
        half = self._row((n - 1) * (1 + EPS) / 2 for n in self.levels).to(z_e.device)
        offset = self._row(0.0 if n % 2 else 0.5 for n in self.levels).to(z_e.device)
        with torch.autocast(z_e.device.type, enabled=False):
            return (z_e.float() + (offset / half).atanh()).tanh() * half - offset

    @property
    def _basis(self) -> list[int]:
        return [math.prod(self.levels[:i]) for i in range(len(self.levels))]

    def _index(self, rounded: Tensor) -> Tensor:
        half = self._row(n // 2 for n in self.levels).to(rounded.device)
        return ((rounded.long() + half) * self._row(self._basis).to(rounded.device)).sum(1)

    @staticmethod
    def _row(values) -> Tensor:
        """One number a channel, [d, 1]."""
        return torch.tensor(list(values))[:, None]
