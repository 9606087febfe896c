"""Points into cells of the ground: a small network sees every point, and a cell keeps the greatest value of each channel.

PointPillars (arXiv 1812.05784, section 2.1) with its nine values a point and one more, the sweep's age; dynamic voxelisation
(arXiv 1910.06528, section 3.2): every point counts, no cell is cut off at so many points or padded up to them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiokd.vision.bev_grid import BevGrid

VALUES = 5  # x, y, z, intensity, age


class PointCells(nn.Module):
    """Points -> a value of each cell: Linear, batch norm, ReLU, greatest of a cell. Empty cells are 0.

    Args:
        grid: cells.
        channels: of a cell.
    """

    def __init__(self, grid: BevGrid, channels: int):
        super().__init__()
        self.grid, self.channels = grid, channels
        self.linear = nn.Linear(2 * VALUES + (grid.layers > 1), channels, bias=False)
        self.norm = nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)

    def forward(self, points: Tensor, batch: Tensor, count: int) -> Tensor:
        """[B, C, layers, rows, columns].

        Args:
            points: [P, 5] of all items, in any order: x, y, z, intensity, age. One that is outside or has a coordinate that is no
                number is not seen.
            batch: [P] int64, whose item each is; negative is none's: padding.
            count: B.
        """
        g = self.grid
        keep = g.inside(points) & (batch >= 0)
        points, batch = points[keep], batch[keep]
        cells = g.layers * g.rows * g.columns
        out = points.new_zeros(count * cells, self.channels)
        if len(points):
            place, values = decorated(points, g)
            index = batch * cells + place
            values = torch.cat([values, to_means(points[:, :3], index, len(out))], 1)
            # one row alone has no variance: batch norm of a training step needs two
            x = self.linear(values)
            x = self.norm(x) if len(x) > 1 or not self.training else x
            x = torch.relu(x)
            out = out.to(x).scatter_reduce(0, index[:, None].expand_as(x), x, "amax")
        return out.view(count, g.layers, g.rows, g.columns, self.channels).permute(0, 4, 1, 2, 3).contiguous()


def decorated(points: Tensor, grid: BevGrid) -> tuple[Tensor, Tensor]:
    """Where points that are inside lie, and what is said of each.

    Returns:
        Cells [P] int64, counted along x, then y, then z; and [P, 7]: x, y, z, intensity, age and the way from its cell's centre
        along x and y; along z, too, where there are layers.
    """
    sizes = grid.sizes(points)
    most = torch.tensor([grid.columns - 1, grid.rows - 1, grid.layers - 1], device=points.device)
    # rounding may put a point just below `high` into the cell behind the last
    at = ((points[:, :3] - points.new_tensor(grid.low)) / sizes).floor().long().minimum(most)
    place = (at[:, 2] * grid.rows + at[:, 1]) * grid.columns + at[:, 0]
    way = points[:, :3] - points.new_tensor(grid.low) - (at + 0.5).to(points) * sizes
    return place, torch.cat([points[:, :VALUES], way if grid.layers > 1 else way[:, :2]], 1)


def to_means(xyz: Tensor, index: Tensor, cells: int) -> Tensor:
    """[P, 3]: the way to each of `xyz` [P, 3] from the mean of those with its `index` [P], which is below `cells`."""
    sums = xyz.new_zeros(cells, 3).index_add(0, index, xyz)
    return xyz - (sums / torch.bincount(index, minlength=cells).clamp(min=1)[:, None])[index]
