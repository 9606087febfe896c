"""Gathering against a loop with its own interpolation; by several levels, at the border and beyond it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audiokd.nn.deformable_attention import deformable_gather


def value_at(x: Tensor, u: float, v: float) -> Tensor:
    """[C] of a map [C, H, W] at u, v as parts of it: between the centres of four cells, 0 beyond the border."""
    _, h, w = x.shape
    px, py = u * w - 0.5, v * h - 0.5
    x0, y0 = math.floor(px), math.floor(py)
    out = torch.zeros(x.shape[0], dtype=x.dtype)
    for col in (x0, x0 + 1):
        for row in (y0, y0 + 1):
            if 0 <= col < w and 0 <= row < h:
                out += x[:, row, col] * (1 - abs(px - col)) * (1 - abs(py - row))
    return out


def case(dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 2, 3, h, w, generator=g, dtype=dtype) for h, w in ((6, 9), (3, 4))]
    places = torch.rand(2, 5, 2, 2, 4, 2, generator=g, dtype=dtype) * 1.4 - 0.2
    weights = torch.rand(2, 5, 2, 2, 4, generator=g, dtype=dtype)
    return maps, places, weights


def test_against_a_loop() -> None:
    maps, places, weights = case()
    found = deformable_gather(maps, places, weights)
    assert found.shape == (2, 5, 6)
    for b in range(2):
        for q in range(5):
            for head in range(2):
                want = torch.zeros(3, dtype=torch.float64)
                for level in range(2):
                    for p in range(4):
                        u, v = places[b, q, head, level, p].tolist()
                        want += weights[b, q, head, level, p] * value_at(maps[level][b, head], u, v)
                torch.testing.assert_close(found[b, q, 3 * head : 3 * head + 3], want, atol=1e-10, rtol=0)


def test_a_query_is_its_own() -> None:
    maps, places, weights = case()
    found = deformable_gather(maps, places, weights)
    some = deformable_gather(maps, places[:, [3, 1]], weights[:, [3, 1]])
    assert torch.equal(some, found[:, [3, 1]])
    one = deformable_gather([m[1:] for m in maps], places[1:], weights[1:])
    torch.testing.assert_close(one, found[1:])


def test_gradients() -> None:
    maps, places, weights = case()
    inputs = [m.requires_grad_() for m in maps], places.requires_grad_(), weights.requires_grad_()
    flat = (*inputs[0], inputs[1], inputs[2])
    assert torch.autograd.gradcheck(lambda a, b, p, w: deformable_gather([a, b], p, w), flat, atol=1e-4)
