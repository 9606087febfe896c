"""What a query is told of the point that somebody has set: where it is, and what it is on (arXiv 2403.15317, explicit positional
query initialisation); and plain Point-DETR's (arXiv 2104.07434): a network of the position, the class beside it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.nn.sines import sines

PARTS = 6  # y, x, z, width, length, height


def explicit_position(relative: Tensor, sizes: Tensor, dim: int, height_of_length: bool = False) -> Tensor:
    """[..., dim]: sines of y, x, z and of the mean width, length, height of the class, 0 in what is left of `dim`.

    Args:
        relative: [..., 3] x, y, z as parts of the range; a whole turn each.
        sizes: [..., 3] length, width, height, metres, as they are.
        dim: of a query.
        height_of_length: the official code's: the height's sines are the length's.
    """
    each = dim // PARTS // 2 * 2
    x, y, z = (2 * math.pi * relative).unbind(-1)
    length, width, height = sizes.unbind(-1)
    parts = [sines(v, each) for v in (y, x, z, width, length, length if height_of_length else height)]
    rest = relative.new_zeros(*relative.shape[:-1], dim - PARTS * each)
    return torch.cat([*parts, rest], -1)


class PointQuery(nn.Module):
    """Marks and their classes -> queries.

    Args:
        config: PointDetr3dConfig.
    """

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.classes = nn.Embedding(len(config.labels), config.dim)
        nn.init.uniform_(self.classes.weight)  # as the official code
        if config.query == "mlp":
            self.position = nn.Sequential(nn.Linear(3, config.dim), nn.ReLU(), nn.Linear(config.dim, config.dim))

    def forward(self, relative: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and their positions, both [..., dim].

        Args:
            relative: [..., 3] as parts of the range.
            labels: [...] int64.
        """
        c = self.config
        if c.query == "mlp":
            position = self.position(relative)
        else:
            sizes = relative.new_tensor(c.class_sizes)[labels]
            position = explicit_position(relative, sizes, c.dim, c.height_of_length)
        return self.classes(labels) + position, position
