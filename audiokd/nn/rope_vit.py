"""A pre-norm vision transformer on patches that know where they stand by rotary positions alone: any subset of a grid goes in.

What is not among the tokens that are given is not seen: a masked autoencoder's or JEPA's encoder is given the visible patches by
their places (V-JEPA 2, arXiv 2506.09985, has this form with three axes).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.nn.axial_rope import rope_angles, rotate
from audiokd.nn.vit import MLP, init_vit, take_rows

EPS = 1e-6


class RopeAttention(nn.Module):
    """Multi-head self-attention by torch's scaled_dot_product_attention, queries and keys turned by their positions."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(rotate(q, angles), rotate(k, angles), v)
        return self.proj(heard.transpose(1, 2).reshape(b, n, d))


class RopeBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, EPS)
        self.attn = RopeAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, EPS)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """[B, N, D] with `angles` of `rope_angles`, [B or 1, N, K], to [B, N, D]."""
        x = x + self.attn(self.norm1(x), angles)
        return x + self.mlp(self.norm2(x))


def init_blocks(blocks: Sequence[RopeBlock], std: float = 0.02) -> None:
    """Weights of a stack: as `init_vit`, what ends a branch of the i-th block, from 1, divided by sqrt(2 i)."""
    for number, block in enumerate(blocks, 1):
        block.apply(partial(init_vit, std=std))
        with torch.no_grad():
            for end in (block.attn.proj, block.mlp.fc2):
                end.weight /= math.sqrt(2 * number)


class RopeViT(nn.Module):
    """Patches [B, N, P] at positions [B or 1, N, A] to tokens.

    Args:
        patch_values: P, numbers in a patch.
        dim: width.
        depth: blocks.
        num_heads: of attention.
        mlp_ratio: width of the MLPs over `dim`.
        init_std: deviation of the first weights.
    """

    def __init__(
        self, patch_values: int, dim: int, depth: int, num_heads: int, mlp_ratio: float = 4.0, init_std: float = 0.02
    ):
        super().__init__()
        self.embed = nn.Linear(patch_values, dim)
        self.blocks = nn.ModuleList(RopeBlock(dim, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, EPS)
        self.head_channels = dim // num_heads
        self.apply(partial(init_vit, std=init_std))
        init_blocks([*self.blocks], init_std)  # type: ignore[list-item]

    def forward(self, patches: Tensor, positions: Tensor, rows: Tensor | None = None) -> Tensor:
        """Tokens through the final norm: [B, N, D], or of the patches `rows` [B, M] alone, [B, M, D]; the others are not read."""
        last = None
        for last in self.states(patches, positions, rows):  # noqa: B007 - the last of them
            pass
        return self.norm(last)

    def states(self, patches: Tensor, positions: Tensor, rows: Tensor | None = None) -> Iterator[Tensor]:
        """What each block leaves, before the final norm; arguments as of `forward`."""
        if rows is not None:
            patches = take_rows(patches, rows)
            positions = take_rows(positions.expand(len(rows), -1, -1), rows)
        x, angles = self.embed(patches), rope_angles(positions, self.head_channels)
        for block in self.blocks:
            x = block(x, angles)
            yield x
