"""Hidden states of any network as tokens [B, N, D] and back: a transformer's, a convolution's map, a vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

AXES = 3  # of positions at the most: of a video
#: which axis the channels are; auto: of four axes and more the second, of fewer the last
Layout: TypeAlias = Literal["auto", "first", "last"]


def channels_first(state: Tensor, layout: Layout) -> bool:
    """Whether the second axis holds the channels."""
    return state.ndim > 2 and (layout == "first" or (layout == "auto" and state.ndim > 3))


def width_of(state: Tensor, layout: Layout) -> int:
    """D, channels of a state [B, ..., D] or [B, D, ...]."""
    return state.shape[1] if channels_first(state, layout) else state.shape[-1]


def grid_of(state: Tensor, layout: Layout) -> tuple[int, ...]:
    """Lengths of the axes of positions; () of a vector a clip."""
    return tuple(state.shape[2:] if channels_first(state, layout) else state.shape[1:-1])


def to_tokens(state: Tensor, layout: Layout) -> Tensor:
    """[B, N, D], N the product of `grid_of`; 1 of a vector."""
    if channels_first(state, layout):
        return state.flatten(2).transpose(1, 2)
    return state.reshape(len(state), -1, state.shape[-1])


def from_tokens(tokens: Tensor, like: Tensor, layout: Layout) -> Tensor:
    """Tokens [B, N or 1, D] in the shape of the state `like`; a single one stands at every position."""
    tokens = tokens.expand(-1, math.prod(grid_of(like, layout)), -1)
    if channels_first(like, layout):
        return tokens.transpose(1, 2).reshape(like.shape)
    return tokens.reshape(like.shape)


def positions(grid: Sequence[int], frequencies: int, device: torch.device) -> Tensor:
    """Fourier features [N, 2 AXES frequencies] of the middle of each position of a grid of up to `AXES` axes, in [0, 1].

    Axes are counted from the last, so that a row of positions is as a map of one row; cos and sin of pi 2^k x.
    """
    axes = [(torch.arange(n, device=device) + 0.5) / n for n in grid]
    axes = [torch.full((1,), 0.5, device=device)] * (AXES - len(axes)) + axes
    at = torch.cartesian_prod(*axes)  # [N, AXES]
    waves = at[..., None] * (math.pi * 2.0 ** torch.arange(frequencies, device=device))
    return torch.cat([waves.cos(), waves.sin()], -1).flatten(1)


def resize_tokens(tokens: Tensor, grid: Sequence[int], to: Sequence[int]) -> Tensor:
    """Tokens [B, N, D] of one grid on another of as many axes, linear between positions.

    Raises:
        ValueError: of another number of axes.
    """
    if tuple(grid) == tuple(to):
        return tokens
    if len(grid) != len(to):
        raise ValueError(f"positions of {list(grid)} do not fit {list(to)}")
    x = tokens.transpose(1, 2).unflatten(2, tuple(grid))
    x = F.interpolate(x, tuple(to), mode=("linear", "bilinear", "trilinear")[len(to) - 1], align_corners=False)
    return x.flatten(2).transpose(1, 2)
