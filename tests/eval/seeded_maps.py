"""Anomaly maps and masks drawn from a seed: what audiokd and anomalib are both given. Imports nothing but numpy, so that an
environment without audiokd can make them."""

from __future__ import annotations

import numpy as np

#: name -> values are rounded to so many digits: many equal ones, some, none
CASES = {"coarse": 1, "rounded": 3, "fine": 9}
PICTURES, HEIGHT, WIDTH = 6, 40, 48
LIMITS = (0.05, 0.3, 1.0)


def seeded_maps(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Maps float32 [N, H, W] in [0, 1] and masks bool [N, H, W]: discs and bars of several sizes, some that touch at a corner, the
    last picture normal; the map is higher on most of them."""
    rng = np.random.default_rng(sorted(CASES).index(name))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks, maps = np.zeros((PICTURES, HEIGHT, WIDTH), bool), np.zeros((PICTURES, HEIGHT, WIDTH))
    for n in range(PICTURES):
        maps[n] = rng.random((HEIGHT, WIDTH))
        for k in range(n % 4 + 1 if n < PICTURES - 1 else 0):
            top, left, side = rng.integers(2, HEIGHT - 14), rng.integers(2, WIDTH - 14), rng.integers(2, 12)
            region = (y - top - side / 2) ** 2 + (x - left - side / 2) ** 2 <= (side / 2 + 0.5) ** 2
            if k == 1:
                region = (y >= top) & (y < top + 2) & (x >= left) & (x < left + side)
                region[top + 2, left + side] = region[top + 1, left + side - 1] = True  # by a corner
            masks[n] |= region
            maps[n] += region * rng.uniform(-0.1, 0.8)
    return np.round(maps / 2, CASES[name]).clip(0, 1).astype(np.float32), masks
