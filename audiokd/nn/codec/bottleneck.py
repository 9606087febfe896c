"""Transformer blocks on an encoder's frames, each looking at a window of neighbours, on padded batches and streams.

h = x + a W_o attention(norm(x));   y = h + b W_2 gelu(W_1 norm(h)),   a and b learned per channel from 0.01 on, and no norm
at the end, as in Mimi's (transformers, MimiConfig): an untrained block passes the frames on, loud and soft, as they are.
Positions are rotary (2104.09864), so relative: a stretch gives the same frames wherever it is cut out, once its margin covers
the receptive field.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.nn.codec.causal import Cache
from audiokd.nn.lengths import length_mask, zero_beyond

LAYER_SCALE = 0.01


class Bottleneck(nn.Module):
    """Pre-norm transformer without biases, so that at the start little is common to all frames (nn/weight_norm.py).

    Args:
        channels: of what comes in and goes out; projected to `dim` and back where the two differ.
        dim: width of the blocks; their inner width is 4 dim.
        layers: number of blocks.
        heads: attention heads.
        window: frames on each side that a frame attends to; None is all of them.
        causal: attend to the left only.

    Shape: [B, channels, T'] -> [B, channels, T'], zero past each item's length.
    """

    def __init__(self, channels: int, dim: int, layers: int, heads: int, window: int | None, causal: bool = False):
        super().__init__()
        self.proj_in = nn.Identity() if channels == dim else nn.Linear(channels, dim, bias=False)
        self.blocks = nn.ModuleList(_Block(dim, heads) for _ in range(layers))
        self.proj_out = nn.Identity() if channels == dim else nn.Linear(dim, channels, bias=False)
        self.head_dim, self.window, self.causal = dim // heads, window, causal

    def forward(self, x: Tensor, lengths: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """`x` [B, channels, T'] with true frames `lengths` [B] (None: all), or the next frames of the stream of `cache`."""
        # keys and values of each block, [layers, 2, B, heads, T_past, d]
        past = None if cache is None else cache.take()
        n = 0 if past is None else past.shape[-2]
        mask = band_mask(n, x.shape[-1], self.window, self.causal, lengths, x.device)
        turn = rotation(n + x.shape[-1], self.head_dim, x)
        h, seen = self.proj_in(x.transpose(1, 2)), []
        for i, block in enumerate(self.blocks):
            h, kv = block(h, mask, turn, None if past is None else past[i])
            seen.append(kv)
        if cache is not None:
            cache.keep(torch.stack([kv[..., -self.window :, :] for kv in seen]))  # type: ignore[operator]
        return zero_beyond(self.proj_out(h).transpose(1, 2), lengths)

    @property
    def receptive_field(self) -> tuple[float, float]:
        """Frames to the left and right that a frame can depend on; inf without a window."""
        reach = math.inf if self.window is None else len(self.blocks) * self.window
        return reach, 0 if self.causal else reach


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.up, self.down = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(4 * dim, dim, bias=False)
        self.scale1, self.scale2 = (nn.Parameter(torch.full((dim,), LAYER_SCALE)) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None, turn: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """[B, T, dim] -> the same, and keys and values [2, B, heads, T_past + T, d] (not turned: positions are the window's)."""
        q, *kv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = torch.stack(kv) if past is None else torch.cat([past, torch.stack(kv)], -2)
        k, v = seen
        a = F.scaled_dot_product_attention(rotate(q, turn[:, -q.shape[-2] :]), rotate(k, turn), v, attn_mask=mask)
        x = x + self.scale1 * self.out(a.transpose(1, 2).flatten(2))
        return x + self.scale2 * self.down(F.gelu(self.up(self.norm2(x)))), seen


def band_mask(
    past: int, size: int, window: int | None, causal: bool, lengths: Tensor | None, device: torch.device
) -> Tensor | None:
    """Who sees whom: bool [B or 1, 1, size, past + size], True where a query attends; None where all attend to all.

    A padded key is seen by nobody but itself: a row with no key at all would be 0 / 0.
    """
    if window is None and not causal and lengths is None:
        return None
    key = torch.arange(past + size, device=device)
    ahead = key - key[past:, None]
    seen = torch.ones_like(ahead, dtype=torch.bool) if window is None else ahead.abs() <= window
    if causal:
        seen = seen & (ahead <= 0)
    if lengths is None:
        return seen[None, None]
    return (seen & length_mask(lengths, past + size)[:, None, None]) | (ahead == 0)


def rotation(size: int, head_dim: int, like: Tensor) -> Tensor:
    """Cosines and sines [2, size, head_dim / 2] of the angles position / 10000^(2 i / head_dim)."""
    rate = 10000 ** (-torch.arange(0, head_dim, 2, device=like.device, dtype=torch.float32) / head_dim)
    angle = torch.arange(size, device=like.device)[:, None] * rate
    return torch.stack([angle.cos(), angle.sin()]).to(like.dtype)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + d/2}) of `x` [..., T, d] by the angles of `turn` [2, T, d/2]."""
    a, b = x.chunk(2, -1)
    cos, sin = turn
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
