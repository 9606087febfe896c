"""Residual vector quantisation (SoundStream 2107.03312) with quantiser dropout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audiokd.nn.quantizers.fsq import FSQ
from audiokd.nn.quantizers.vq import VectorQuantizer


class ResidualVQ(nn.Module):
    """Each level quantises what the levels before left over.

    Args:
        dim: channels of the latent.
        num_codebooks: levels.
        codebook_size, codebook_dim: of each level.
        dropout: share of the batch (the first items) that trains with a random number 1..num_codebooks of levels.
        bypass: probability that an item trains without its rounding: every level passes W_out z_e on. Codes and losses
            are those of the codes that it would have had.
        fsq_levels: where given, each level is an FSQ of these in place of a codebook.
    """

    def __init__(
        self,
        dim: int,
        num_codebooks: int,
        codebook_size: int,
        codebook_dim: int = 8,
        dropout: float = 0.0,
        bypass: float = 0.0,
        fsq_levels: Sequence[int] = (),
    ):
        super().__init__()
        self.quantizers = nn.ModuleList(
            FSQ(dim, fsq_levels) if fsq_levels else VectorQuantizer(dim, codebook_size, codebook_dim)
            for _ in range(num_codebooks)
        )
        self.dropout, self.bypass = dropout, bypass

    @property
    def cardinality(self) -> list[int]:
        """Codes of each level."""
        return [q.codebook_size for q in self.quantizers]

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        """Quantise `z` [B, D, T].

        Returns:
            Quantised [B, D, T], codes [B, Q, T], commitment and codebook losses (scalars, summed over levels), projected
            latents [B, d, T] of each level.
        """
        levels = torch.full((z.shape[0],), len(self.quantizers), device=z.device)
        if self.training:
            n = int(z.shape[0] * self.dropout)
            levels[:n] = torch.randint(1, len(self.quantizers) + 1, (n,)).to(z.device)
        bypass = None
        if self.training and self.bypass:
            bypass = (torch.rand(z.shape[0]) < self.bypass).to(z.device)
        z_q, residual = torch.zeros_like(z), z
        commitment = codebook_loss = z.new_zeros(())
        codes, latents = [], []
        for i, quantizer in enumerate(self.quantizers):
            q, c, commit_i, codebook_i, z_e = quantizer(residual, bypass)
            used = (i < levels).to(z.dtype)
            z_q = z_q + q * used[:, None, None]
            residual = residual - q
            commitment = commitment + (commit_i * used).mean()
            codebook_loss = codebook_loss + (codebook_i * used).mean()
            codes.append(c)
            latents.append(z_e)
        return z_q, torch.stack(codes, 1), commitment, codebook_loss, latents

    def encode(self, z: Tensor, n: int | None = None) -> Tensor:
        """`z` [B, D, T] -> codes [B, n, T] of the first `n` levels (all by default)."""
        codes, residual = [], z
        for quantizer in self.quantizers[:n]:
            c = quantizer.encode(residual)
            residual = residual - quantizer.decode(c)
            codes.append(c)
        return torch.stack(codes, 1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, n, T], n at most the number of levels -> [B, D, T]."""
        return sum(q.decode(codes[:, i]) for i, q in enumerate(self.quantizers[: codes.shape[1]]))
