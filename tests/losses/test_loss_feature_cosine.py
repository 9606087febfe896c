"""Cosine distances of feature maps against written-out numbers; who gets a gradient."""

from __future__ import annotations

import pytest
import torch

from audiokd.losses.flat_cosine import flat_cosine
from audiokd.losses.pixel_cosine import cosine_distance, pixel_cosine

Maps = list[torch.Tensor]


@pytest.fixture
def maps() -> tuple[Maps, Maps]:
    g = torch.Generator().manual_seed(0)
    shapes = [(2, 5, 4, 6), (2, 3, 2, 3)]
    return [torch.randn(s, generator=g) for s in shapes], [torch.randn(s, generator=g) for s in shapes]


def cos(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt()))


@pytest.mark.parametrize("layers", ["mean", "sum"])
@pytest.mark.parametrize("items", ["mean", "sum"])
def test_cell_by_cell_written_out(maps: tuple[Maps, Maps], layers: str, items: str) -> None:
    expected = 0.0
    for s, t in zip(*maps):
        batch, _, height, width = s.shape
        for b in range(batch):
            for h in range(height):
                for w in range(width):
                    expected += (1 - cos(s[b, :, h, w].double(), t[b, :, h, w].double())) / (height * width)
    expected /= (2 if layers == "mean" else 1) * (2 if items == "mean" else 1)
    assert float(pixel_cosine(*maps, layers, items)) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]


def test_a_map_as_one_vector_written_out(maps: tuple[Maps, Maps]) -> None:
    expected = sum((1 - cos(s[b].double(), t[b].double())) / 2 for s, t in zip(*maps) for b in range(2))
    assert float(flat_cosine(*maps)) == pytest.approx(expected, rel=1e-5)
    scaled = [3 * t for t in maps[1]]
    assert float(flat_cosine(maps[1], scaled)) == pytest.approx(0, abs=1e-6)
    assert float(pixel_cosine(maps[1], scaled)) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_equal_and_opposite_maps(maps: tuple[Maps, Maps]) -> None:
    t = maps[1][0]
    assert bool((cosine_distance(t, t) == 0).all())  # to the bit: nothing is found where nothing is
    torch.testing.assert_close(cosine_distance(-t, t), torch.full((2, 4, 6), 2.0))
    zero = torch.zeros(1, 3, 1, 1)
    assert float(cosine_distance(zero, zero)) == 0  # no direction, and no NaN


@pytest.mark.parametrize("loss", [pixel_cosine, flat_cosine])
def test_the_student_alone_gets_a_gradient(maps: tuple[Maps, Maps], loss: object) -> None:
    s, t = ([m.clone().requires_grad_() for m in side] for side in maps)
    loss(s, t).backward()  # type: ignore[operator]
    assert all(m.grad is not None and bool(m.grad.any()) for m in s)
    assert all(m.grad is None for m in t)
    with pytest.raises(ValueError, match="of the teacher"):
        loss(s[:1], t)  # type: ignore[operator]
    with pytest.raises(ValueError, match="of the teacher"):
        loss([s[1], s[0]], t)  # type: ignore[operator]
