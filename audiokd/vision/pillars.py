"""Pillars: cells as high as the scene (PointPillars, arXiv 1812.05784)."""

from __future__ import annotations

from torch import Tensor, nn

from audiokd.errors import ConfigError
from audiokd.vision.bev_grid import BevGrid
from audiokd.vision.point_cells import PointCells


class PillarEncoder(nn.Module):
    """Points -> map of the ground.

    Args:
        grid: of one layer.
        channels: of the map.

    Attributes:
        channels: of the map.

    Raises:
        ConfigError: the grid has layers.
    """

    def __init__(self, grid: BevGrid, channels: int):
        super().__init__()
        if grid.layers != 1:
            raise ConfigError(f"{grid.layers} layers", where="model.layers", fix="pillars have one; voxels have layers")
        self.channels = channels
        self.cells = PointCells(grid, channels)

    def forward(self, points: Tensor, batch: Tensor, count: int) -> Tensor:
        """[B, C, rows, columns], as of `PointCells`."""
        return self.cells(points, batch, count)[:, :, 0]
