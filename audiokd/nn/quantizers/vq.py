"""Vector quantisation in a small projected space with unit-norm nearest neighbours (DAC, ViT-VQGAN 2110.04627).

z_e = W_in z,   k = argmax_k <z_e/|z_e|, c_k/|c_k|>,   z_q = W_out (z_e + sg(c_k - z_e))
commitment = mean (z_e - sg c_k)^2,   codebook = mean (c_k - sg z_e)^2     (codes not normalised)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.nn.weight_norm import WNConv1d, zero_biases


class VectorQuantizer(nn.Module):
    """One codebook.

    Args:
        dim: channels of the latent.
        codebook_size: number of codes.
        codebook_dim: dimension in which neighbours are searched.
    """

    def __init__(self, dim: int, codebook_size: int, codebook_dim: int = 8):
        super().__init__()
        self.codebook_size = codebook_size
        self.in_proj = WNConv1d(dim, codebook_dim, 1)
        self.out_proj = WNConv1d(codebook_dim, dim, 1)
        self.codebook = nn.Embedding(codebook_size, codebook_dim)
        zero_biases(self)

    def forward(self, z: Tensor, bypass: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Quantise `z` [B, D, T].

        Args:
            z: latent.
            bypass: bool [B], items that go out as W_out z_e: projected, but not moved onto their code.

        Returns:
            Quantised [B, D, T] (straight-through), codes [B, T], commitment [B], codebook loss [B], projected latents
            [B, d, T].
        """
        z_e = self.in_proj(z)
        codes = self.similarity(z_e).argmax(-1)
        c = self.codebook(codes).transpose(1, 2)
        commitment = (z_e - c.detach()).square().mean((1, 2))
        codebook_loss = (c - z_e.detach()).square().mean((1, 2))
        move = (c - z_e).detach()
        if bypass is not None:
            move = move.masked_fill(bypass[:, None, None], 0.0)
        return self.out_proj(z_e + move), codes, commitment, codebook_loss, z_e

    def encode(self, z: Tensor) -> Tensor:
        """`z` [B, D, T] -> codes [B, T]."""
        return self.similarity(self.in_proj(z)).argmax(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, T] -> [B, D, T]."""
        return self.out_proj(self.codebook(codes).transpose(1, 2))

    def margin(self, z: Tensor) -> Tensor:
        """How far ahead the chosen code is of the next, in cosine [B, T]: a near tie may fall either way on another machine."""
        top = self.similarity(self.in_proj(z)).topk(2, dim=-1).values
        return top[..., 0] - top[..., 1]

    def similarity(self, z_e: Tensor) -> Tensor:
        """Cosine of projected latents [B, d, T] to every code, float32 [B, T, N]."""
        with torch.autocast(z_e.device.type, enabled=False):
            return (
                F.normalize(z_e.float().transpose(1, 2), dim=-1) @ F.normalize(self.codebook.weight.float(), dim=-1).t()
            )
