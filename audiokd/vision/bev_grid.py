"""The ground around a car, cut into cells: rows go with y, columns with x, both from the least value on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from audiokd.errors import ConfigError


class BevGrid(NamedTuple):
    """A box of space and the size of its cells.

    Attributes:
        low, high: x, y, z in metres.
        cell: side of a cell along x and y, metres.
        layers: cells along z.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    cell: float
    layers: int = 1

    @property
    def columns(self) -> int:
        """Cells along x."""
        return round((self.high[0] - self.low[0]) / self.cell)

    @property
    def rows(self) -> int:
        """Cells along y."""
        return round((self.high[1] - self.low[1]) / self.cell)

    def sizes(self, like: Tensor) -> Tensor:
        """[3]: sides of a cell along x, y, z, metres."""
        return like.new_tensor([self.cell, self.cell, (self.high[2] - self.low[2]) / self.layers])

    def inside(self, points: Tensor) -> Tensor:
        """[...]: which of `points` [..., >= 3] lie in the box; one with a coordinate that is no number does not."""
        xyz = points[..., :3]
        return ((xyz >= xyz.new_tensor(self.low)) & (xyz < xyz.new_tensor(self.high))).all(-1)

    def relative(self, xyz: Tensor) -> Tensor:
        """`xyz` [..., 2 or 3] in metres, as parts of the box: 0 at `low`, 1 at `high`."""
        low, high = (xyz.new_tensor(side[: xyz.shape[-1]]) for side in (self.low, self.high))
        return (xyz - low) / (high - low)

    def centres(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """[rows, columns, 2]: x, y of the centres of the cells of a map of so many, metres."""
        y = self.low[1] + (torch.arange(rows).to(like) + 0.5) * (self.high[1] - self.low[1]) / rows
        x = self.low[0] + (torch.arange(columns).to(like) + 0.5) * (self.high[0] - self.low[0]) / columns
        return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], -1)


def check_grid(grid: BevGrid, multiple: int) -> None:
    """That the box is whole cells, and their numbers are multiples of a network's stride.

    Raises:
        ConfigError: it is not so.
    """
    if any(not b > a for a, b in zip(grid.low, grid.high)) or grid.cell <= 0 or grid.layers < 1:
        raise ConfigError(f"no such box: {grid.low} to {grid.high}, cells of {grid.cell} m", where="model.low")
    for name, k, count in (("x", 0, grid.columns), ("y", 1, grid.rows)):
        side = grid.high[k] - grid.low[k]
        if abs(count * grid.cell - side) > 1e-6 * side or count % multiple:
            what = f"{side:g} m along {name} in cells of {grid.cell:g} m: a multiple of {multiple} cells is due"
            fix = f"a range of {max(1, round(count / multiple)) * multiple * grid.cell:g} m, or other cells"
            raise ConfigError(what, where="model.cell", fix=fix)
