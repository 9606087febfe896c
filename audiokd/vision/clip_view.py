"""Frames of a video as a network sees them: cut the same way in every frame, resized once, normalised."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ASPECT = (0.75, 1.35)  # of V-JEPA 2's crops
TRIES = 10


def clip_tensor(
    frames: np.ndarray,
    size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    rng: np.random.Generator | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """A clip as a network sees it: no flip, no rotation, no reversal, which would change what a motion is called.

    Args:
        frames: uint8 [T, H, W, 3].
        size: pixels a side of the result.
        mean, std: of each channel.
        rng: draws one crop for all frames: a share `scale` of the picture at an aspect of 0.75 to 1.35; without it the largest
            square in the middle is taken.
        scale: least and greatest share.

    Returns:
        float32 [3, T, size, size].
    """
    top, left, h, w = _crop(frames.shape[1], frames.shape[2], rng, scale)
    x = torch.from_numpy(np.ascontiguousarray(frames[:, top : top + h, left : left + w])).permute(0, 3, 1, 2).float()
    if (h, w) != (size, size):
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    shift, by = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
    return ((x / 255 - shift) / by).permute(1, 0, 2, 3).contiguous()


def _crop(
    height: int, width: int, rng: np.random.Generator | None, scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Top, left, height and width."""
    for _ in range(TRIES if rng is not None else 0):
        assert rng is not None
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*np.log(ASPECT)))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side
