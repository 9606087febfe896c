"""The split quantiser of LM-SPT: semantic VQ from one encoder, residual acoustic VQ from the other.

s = VQ(z_sem);   a = RVQ(z_ac - s)   (semantic subtraction, gradient flows into s);   z = s + a
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audiokd.nn.quantizers.fsq import FSQ
from audiokd.nn.quantizers.rvq import ResidualVQ
from audiokd.nn.quantizers.vq import VectorQuantizer


@dataclass
class SplitQuantized:
    """What `SplitQuantizer.forward` gives.

    Shapes: z, z_semantic [B, D, T]; codes [B, Q, T], semantic streams first; losses are scalars; latents [B, d, T] a stream.
    """

    z: Tensor
    z_semantic: Tensor
    codes: Tensor
    commit_semantic: Tensor
    codebook_semantic: Tensor
    commit_acoustic: Tensor
    codebook_acoustic: Tensor
    latents: list[Tensor]


class SplitQuantizer(nn.Module):
    """Semantic codebooks first, acoustic codebooks after them.

    Args:
        semantic, acoustic: the two residual quantisers.
        semantic_subtraction: take the semantic part off the acoustic latent before it is quantised.
    """

    def __init__(self, semantic: ResidualVQ, acoustic: ResidualVQ, semantic_subtraction: bool = True):
        super().__init__()
        self.semantic, self.acoustic = semantic, acoustic
        self.semantic_subtraction = semantic_subtraction

    @property
    def streams(self) -> list[VectorQuantizer | FSQ]:
        """The quantiser of each stream."""
        return [*self.semantic.quantizers, *self.acoustic.quantizers]

    @property
    def cardinality(self) -> list[int]:
        """Codes of each stream."""
        return [q.codebook_size for q in self.streams]

    def forward(self, z_semantic: Tensor, z_acoustic: Tensor) -> SplitQuantized:
        """Quantise both latents [B, D, T] for training, straight-through; of a shared encoder both are the same."""
        s, s_codes, s_commit, s_codebook, s_latents = self.semantic(z_semantic)
        a, a_codes, a_commit, a_codebook, a_latents = self.acoustic(
            z_acoustic - s if self.semantic_subtraction else z_acoustic
        )
        codes = torch.cat([s_codes, a_codes], 1)
        latents = [*s_latents, *a_latents]
        return SplitQuantized(s + a, s, codes, s_commit, s_codebook, a_commit, a_codebook, latents)

    def encode(self, z_semantic: Tensor, z_acoustic: Tensor | None, n: int | None = None) -> Tensor:
        """Latents [B, D, T] -> codes [B, n, T]. `z_acoustic` may be None when only semantic streams are wanted."""
        n_semantic = len(self.semantic.quantizers)
        n = n or n_semantic + len(self.acoustic.quantizers)
        codes = self.semantic.encode(z_semantic, min(n, n_semantic))
        if n <= n_semantic:
            return codes
        assert z_acoustic is not None
        residual = z_acoustic - self.semantic.decode(codes) if self.semantic_subtraction else z_acoustic
        return torch.cat([codes, self.acoustic.encode(residual, n - n_semantic)], 1)

    def decode_semantic(self, codes: Tensor) -> Tensor:
        """Codes [B, Q, T] (the first streams are used) -> [B, D, T]."""
        return self.semantic.decode(codes[:, : len(self.semantic.quantizers)])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, n, T], n at most all streams -> [B, D, T]."""
        n_semantic = len(self.semantic.quantizers)
        z = self.decode_semantic(codes)
        return z + self.acoustic.decode(codes[:, n_semantic:]) if codes.shape[1] > n_semantic else z

    def margin(self, z_semantic: Tensor, z_acoustic: Tensor | None, n: int | None = None) -> Tensor:
        """Margin of every code of `encode` over the runner-up [B, n, T] (VectorQuantizer.margin, FSQ.margin), for judging near
        ties."""
        n_semantic, out, residual = len(self.semantic.quantizers), [], z_semantic
        for i, q in enumerate(self.streams[:n]):
            if i == n_semantic:
                assert z_acoustic is not None
                s = self.semantic.decode(self.semantic.encode(z_semantic))
                residual = z_acoustic - s if self.semantic_subtraction else z_acoustic
            out.append(q.margin(residual))
            residual = residual - q.decode(q.encode(residual))
        return torch.stack(out, 1)
