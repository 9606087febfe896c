"""Pillars and voxels against a loop over points; batch mates, padding and order change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from audiokd.errors import ConfigError
from audiokd.vision.bev_grid import BevGrid, check_grid
from audiokd.vision.pillars import PillarEncoder
from audiokd.vision.point_cells import PointCells, decorated
from audiokd.vision.voxels import VoxelEncoder

GRID = BevGrid((-4.0, -2.0, -1.0), (4.0, 2.0, 3.0), 0.5)
LAYERED = GRID._replace(layers=4)


def cloud(seed: int, count: int = 200) -> Tensor:
    """Points, some of which are outside, one at each end of the range."""
    g = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 5, generator=g) * torch.tensor([10.0, 6, 5, 1, 0.5]) - torch.tensor([5.0, 3, 1.5, 0, 0])
    points[0, :3], points[1, :3] = torch.tensor(GRID.low), torch.tensor(GRID.high)
    return points


def looped(cells: PointCells, points: Tensor, grid: BevGrid) -> Tensor:
    """[C, layers, rows, columns], point by point."""
    mean, var = cells.norm.running_mean.numpy(), cells.norm.running_var.numpy()
    w, scale = cells.linear.weight.detach().numpy(), cells.norm.weight.detach().numpy() / np.sqrt(var + 1e-3)
    shift = cells.norm.bias.detach().numpy() - mean * scale
    by_cell: dict[tuple[int, int, int], list[np.ndarray]] = {}
    sizes = np.array([0.5, 0.5, 4.0 / grid.layers])
    for p in points.numpy().astype(np.float64):
        at = np.floor((p[:3] - grid.low) / sizes).astype(int)
        if (p[:3] >= grid.low).all() and (p[:3] < grid.high).all():
            by_cell.setdefault((at[2], at[1], at[0]), []).append(p)
    out = np.zeros((cells.channels, grid.layers, grid.rows, grid.columns))
    for (z, y, x), found in by_cell.items():
        centre = np.array(grid.low) + (np.array([x, y, z]) + 0.5) * sizes
        middle = np.mean([p[:3] for p in found], 0)
        for p in found:
            way = (p[:3] - centre)[: 3 if grid.layers > 1 else 2]
            said = np.maximum(w @ np.concatenate([p, way, p[:3] - middle]) * scale + shift, 0)
            out[:, z, y, x] = np.maximum(out[:, z, y, x], said)
    return torch.from_numpy(out).float()


def trained(encoder: torch.nn.Module) -> torch.nn.Module:
    """In eval mode with batch norms that have seen something."""
    g = torch.Generator().manual_seed(1)
    for m in encoder.modules():
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm):
            for t, low in ((m.running_mean, -0.5), (m.running_var, 0.5), (m.weight.data, 0.5), (m.bias.data, -0.2)):
                t.copy_(torch.rand(t.shape, generator=g) + low)
    return encoder.eval()


@pytest.mark.parametrize("grid", [GRID, LAYERED])
def test_cells_against_a_loop(grid: BevGrid) -> None:
    torch.manual_seed(0)
    cells = trained(PointCells(grid, 6))
    points = cloud(0)
    found = cells(points, torch.zeros(len(points), dtype=torch.long), 1)
    want = looped(cells, points, grid)
    assert (want > 0).any(0).sum() > 50
    torch.testing.assert_close(found[0], want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("make", [lambda: PillarEncoder(GRID, 6), lambda: VoxelEncoder(LAYERED, 6)])
def test_mates_padding_and_order_change_nothing(make: object) -> None:
    torch.manual_seed(0)
    encoder = trained(make())  # type: ignore[operator]
    a, b = cloud(0), cloud(1, 90)
    alone = encoder(a, torch.zeros(len(a), dtype=torch.long), 1)
    assert alone.shape == (1, encoder.channels, 8, 16)
    mixed = torch.cat([b, a, torch.full((7, 5), 0.1), torch.full((3, 5), torch.nan)])
    item = torch.tensor([0] * len(b) + [2] * len(a) + [-1] * 7 + [2] * 3)
    order = torch.randperm(len(mixed))
    together = encoder(mixed[order], item[order], 3)
    torch.testing.assert_close(together[2:], alone, atol=1e-6, rtol=1e-5)
    # the second has no point: as a scene without one
    torch.testing.assert_close(together[1], encoder(a[:0], item[:0], 1)[0])
    assert not torch.allclose(together[0], together[2])


def test_a_gradient_goes_to_the_point_that_is_seen() -> None:
    torch.manual_seed(0)
    cells = PointCells(GRID, 4)
    points = cloud(3).requires_grad_()
    cells(points, torch.zeros(len(points), dtype=torch.long), 1).square().sum().backward()
    inside = GRID.inside(points.detach())
    assert (points.grad[inside].abs().sum(1) > 0).float().mean() > 0.5
    assert points.grad[~inside].abs().max() == 0
    assert cells.linear.weight.grad.abs().sum() > 0
    one = cells(points[:1], torch.zeros(1, dtype=torch.long), 1)  # one point of a training step has no variance
    assert torch.isfinite(one).all()


def test_a_point_just_below_the_end_is_in_the_last_cell() -> None:
    points = torch.tensor([[4.0, 2.0, 3.0, 0, 0]])
    just = torch.nextafter(points, torch.zeros(()))
    assert GRID.inside(just).all()
    assert not GRID.inside(points).any()
    place, _ = decorated(just, GRID)
    assert int(place) == GRID.rows * GRID.columns - 1


def test_grids_that_are_none() -> None:
    check_grid(GRID, 8)
    for grid, multiple, what in (
        (GRID._replace(cell=0.3), 1, "8 m along x in cells of 0.3 m"),
        (GRID, 16, "4 m along y"),
        (GRID._replace(high=(-5.0, 2.0, 3.0)), 1, "no such box"),
    ):
        with pytest.raises(ConfigError, match=what):
            check_grid(grid, multiple)
    with pytest.raises(ConfigError, match="pillars have one"):
        PillarEncoder(LAYERED, 4)
    with pytest.raises(ConfigError, match="a multiple of four"):
        VoxelEncoder(GRID._replace(layers=6), 4)
