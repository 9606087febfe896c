"""Radii by what they promise, heat maps against a loop, and their focal loss."""

from __future__ import annotations

import math

import pytest
import torch

from audiokd.losses.heat_map_focal import heat_map_focal
from audiokd.vision.gaussian_heat_maps import draw_gaussians, gaussian_radius, whole_radius


def radius_of(h: float, w: float, o: float) -> float:
    """CenterNet's, with its signs and halves written out."""
    b1, c1 = h + w, w * h * (1 - o) / (1 + o)
    b2, c2 = 2 * (h + w), (1 - o) * w * h
    b3, c3 = -2 * o * (h + w), (o - 1) * w * h
    roots = [(b + math.sqrt(b * b - 4 * a * c)) / 2 for a, b, c in ((1, b1, c1), (4, b2, c2), (4 * o, b3, c3))]
    return min(roots)


def test_radius() -> None:
    g = torch.Generator().manual_seed(0)
    length, width = torch.rand(50, generator=g) * 12 + 0.3, torch.rand(50, generator=g) * 6 + 0.3
    for overlap in (0.1, 0.5, 0.7):
        found = gaussian_radius(length.double(), width.double(), overlap)
        want = [radius_of(a, b, overlap) for a, b in zip(length.tolist(), width.tolist())]
        assert found.tolist() == pytest.approx(want, rel=1e-9)
    assert whole_radius(torch.tensor([0.5, 30.0]), torch.tensor([0.5, 30.0]), 0.5, 2).tolist()[0] == 2
    # a turned box is as wide: length and width change places
    torch.testing.assert_close(gaussian_radius(width, length, 0.1), gaussian_radius(length, width, 0.1))


def test_maps_against_a_loop() -> None:
    centres, radii = [(3, 4), (5, 4), (0, 0), (3, 4)], [2, 3, 1, 2]
    channel, batch = [0, 0, 1, 0], [0, 0, 0, 1]
    found = draw_gaussians(
        torch.tensor(centres), torch.tensor(radii), torch.tensor(channel), torch.tensor(batch), (2, 2, 8, 9)
    )
    want = torch.zeros(2, 2, 8, 9)
    for (cx, cy), r, c, b in zip(centres, radii, channel, batch):
        for row in range(8):
            for col in range(9):
                if abs(row - cy) <= r and abs(col - cx) <= r:
                    sigma = (2 * r + 1) / 6
                    value = math.exp(-((row - cy) ** 2 + (col - cx) ** 2) / (2 * sigma**2))
                    want[b, c, row, col] = max(float(want[b, c, row, col]), value)
    torch.testing.assert_close(found, want, atol=1e-6, rtol=0)
    assert (found == 1).sum() == 4
    none = torch.zeros(0, dtype=torch.long)
    assert draw_gaussians(none.view(0, 2), none, none, none, (1, 2, 4, 5)).shape == (1, 2, 4, 5)


def test_focal_against_its_equation() -> None:
    g = torch.Generator().manual_seed(0)
    logits = (torch.randn(2, 3, 6, 6, generator=g, dtype=torch.float64) * 3).requires_grad_()
    y = torch.rand(2, 3, 6, 6, generator=g, dtype=torch.float64) * 0.9
    y[0, 0, 2, 2] = y[1, 2, 3, 3] = 1
    p = logits.sigmoid()
    total = sum(
        (1 - a) ** 2 * torch.log(a) if b == 1 else (1 - b) ** 4 * a**2 * torch.log(1 - a)
        for a, b in zip(p.flatten(), y.flatten())
    )
    torch.testing.assert_close(heat_map_focal(logits, y), -total / 2)
    assert torch.autograd.gradcheck(lambda x: heat_map_focal(x, y), (logits,))
    far = heat_map_focal(torch.full((1, 1, 3, 3), -200.0), torch.zeros(1, 1, 3, 3))
    assert float(far) == 0  # no object: divided by one, and no NaN of log(0)
    assert torch.isfinite(heat_map_focal(torch.full((1, 1, 2, 2), 200.0), torch.zeros(1, 1, 2, 2)))
