"""Where somebody who marks an object with a point would set it (Point-DETR3D, arXiv 2403.15317, LoadPointAnnotations).

A thing with centre c and extent d along an axis is marked at c + d / 2 (2u - 1) rho, rho = 1/3, u from a normal distribution of
mean 0.5 and deviation 0.3 that is cut to [0, 1].
"""

from __future__ import annotations

import numpy as np

RHO = 1 / 3
MEAN, STD = 0.5, 0.3


def draw_within(axes: int, rng: np.random.Generator) -> np.ndarray:
    """u [axes], float64."""
    u = rng.normal(MEAN, STD, axes)
    while (out := (u < 0) | (u > 1)).any():  # drawn again until it lies inside: the truncated normal
        u[out] = rng.normal(MEAN, STD, int(out.sum()))
    return u
