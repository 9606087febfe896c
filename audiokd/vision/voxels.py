"""Voxels: cells with layers, and convolutions over them down to the ground.

SECOND (Sensors 2018, 18(10):3337) has sparse convolutions, which need a compiled library; these are dense, for short ranges.
"""

from __future__ import annotations

from torch import Tensor, nn

from audiokd.errors import ConfigError
from audiokd.vision.bev_grid import BevGrid
from audiokd.vision.point_cells import PointCells


class VoxelEncoder(nn.Module):
    """Points -> map of the ground: two 3-D convolutions, each of which halves the layers, which then lie side by side.

    Args:
        grid: of a multiple of four layers.
        channels: of a voxel; the map has `channels * layers / 4`.

    Attributes:
        channels: of the map.

    Raises:
        ConfigError: the layers cannot be halved twice.
    """

    def __init__(self, grid: BevGrid, channels: int):
        super().__init__()
        if grid.layers % 4:
            raise ConfigError(f"{grid.layers} layers", where="model.layers", fix="a multiple of four: halved twice")
        self.channels = channels * grid.layers // 4
        self.cells = PointCells(grid, channels)
        self.convs = nn.Sequential(*(m for _ in range(2) for m in _halving(channels)))

    def forward(self, points: Tensor, batch: Tensor, count: int) -> Tensor:
        """[B, channels, rows, columns], as of `PointCells`."""
        return self.convs(self.cells(points, batch, count)).flatten(1, 2)


def _halving(channels: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv3d(channels, channels, 3, (2, 1, 1), 1, bias=False)
    return conv, nn.BatchNorm3d(channels, eps=1e-3, momentum=0.01), nn.ReLU()
