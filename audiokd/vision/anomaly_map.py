r"""From distances of two pyramids to a map of the picture's size and a score (STFPM, RD4AD, DBFAD).

.. math:: M = G_\sigma * \sum_l v_l\, \mathrm{up}(d_l) \quad \text{or} \quad G_\sigma * \prod_l \mathrm{up}(d_l), \qquad
   \mathrm{score} = \max_{h, w} M_{hw}

d_l is 1 - cos of the cells; v_l = 1 ("equal", RD4AD, arXiv 2201.10703) or 1 / (H_l W_l) ("area", DBFAD's official code, in which
coarse maps so count more); the product is STFPM's (arXiv 2103.04257). Scores are raw: nothing of a test set is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Combine: TypeAlias = Literal["sum", "product"]
Weigh: TypeAlias = Literal["equal", "area"]

TRUNCATE = 4.0  # standard deviations, as of scipy's gaussian_filter


class AnomalyMap(nn.Module):
    """Distances [B, H_l, W_l] of each level to maps [B, size, size].

    Args:
        size: of the picture, pixels.
        combine: sum or product over levels.
        weigh: what the levels count in a sum.
        sigma: of the Gaussian, pixels; 0 is none.
        align_corners: of the bilinear interpolation. As in RD4AD's and STFPM's code; it moves what lies near the border by up to
            half a cell.
    """

    def __init__(
        self,
        size: int,
        combine: Combine = "sum",
        weigh: Weigh = "equal",
        sigma: float = 4.0,
        align_corners: bool = False,
    ):
        super().__init__()
        self.size, self.combine, self.weigh, self.align_corners = size, combine, weigh, align_corners
        blur = torch.from_numpy(blur_matrix(size, sigma)).float() if sigma else None
        self.register_buffer("blur", blur, persistent=False)

    def forward(self, distances: Sequence[Tensor]) -> Tensor:
        found: Tensor | None = None
        for d in distances:
            if self.combine == "sum" and self.weigh == "area":
                d = d / (d.shape[-2] * d.shape[-1])
            up = F.interpolate(d[:, None], (self.size, self.size), mode="bilinear", align_corners=self.align_corners)[
                :, 0
            ]
            found = up if found is None else (found + up if self.combine == "sum" else found * up)
        assert found is not None
        # along both axes, whatever the batch: the official DBFAD squeezes a batch of one and blurs its rows alone
        return found if self.blur is None else self.blur @ found @ self.blur.T


def scores_of(maps: Tensor) -> Tensor:
    """Greatest value of each of the maps [B, H, W], [B]."""
    return maps.flatten(1).amax(1)


def blur_matrix(size: int, sigma: float) -> np.ndarray:
    """A Gaussian filter along an axis of `size` as a matrix [size, size]: scipy's `gaussian_filter1d`, mirrored at the borders."""
    radius = int(TRUNCATE * sigma + 0.5)
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    weights /= weights.sum()
    matrix = np.zeros((size, size))
    period = np.concatenate([np.arange(size), np.arange(size)[::-1]])  # d c b a | a b c d | d c b a
    for row in range(size):
        np.add.at(matrix[row], period[(row + x) % (2 * size)], weights)
    return matrix
