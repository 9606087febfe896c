"""Pre-norm vision transformer blocks (Dosovitskiy et al., arXiv 2010.11929), over padded sequences; parameters named as timm's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DropPath(nn.Module):
    """Leaves the residual branch of a whole item out with probability `p` in training (arXiv 1603.09382)."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.p
        return x * kept.to(x.dtype) / (1 - self.p)


class Attention(nn.Module):
    """Multi-head self-attention by torch's scaled_dot_product_attention."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None, rows: Tensor | None = None) -> Tensor:
        b, n, d = x.shape
        shape = (self.num_heads, d // self.num_heads)
        if rows is None:
            q, k, v = self.qkv(x).view(b, n, 3, *shape).permute(2, 0, 3, 1, 4)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            halves = (None, None) if bias is None else (bias[:d], bias[d:])
            q = F.linear(take_rows(x, rows), weight[:d], halves[0]).view(b, -1, *shape).transpose(1, 2)
            k, v = F.linear(x, weight[d:], halves[1]).view(b, n, 2, *shape).permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(heard.transpose(1, 2).reshape(b, -1, d))


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Tokens `rows` [B, M] of `x` [B, N, D]: [B, M, D]."""
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[-1]))


class MLP(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        dim: width.
        num_heads: of attention.
        mlp_ratio: width of the MLP over `dim`.
        qkv_bias: biases of queries, keys and values.
        drop_path: probability that a branch is left out, an item and branch.
        eps: of the layer norms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        drop_path: float = 0.0,
        eps: float = 1e-6,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attn = Attention(dim, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """[B, N, D] to [B, N, D], or to [B, M, D].

        Args:
            x: tokens.
            mask: Bool [B, 1, 1, N], True where a token may be attended to; every item needs one such token. None: all may.
            rows: [B, M] tokens whose output is wanted; the others are attended to, and nothing else of them is computed.
        """
        heard = self.attn(self.norm1(x), mask, rows)
        x = (x if rows is None else take_rows(x, rows)) + self.drop_path(heard)
        return x + self.drop_path(self.mlp(self.norm2(x)))


def init_vit(module: nn.Module, std: float = 0.02) -> None:
    """Weights of linear layers from a truncated normal of deviation `std`, biases 0, layer norms 1 and 0 (as DINO's ViT)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
