"""Pictures with masks to a segmentation network's input: no resizing, the same crop and symmetry for both.

A random view is a function of (seed, step, id), as those of `audiokd.vision.transforms` are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from audiokd.data.crops import rng_of
from audiokd.errors import AudiokdError

if TYPE_CHECKING:
    from PIL.Image import Image


def pixels(image: Image | np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """float32 [3, H, W]: samples of RGB over 255, less `mean`, over `std` of each channel."""
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(image), -1, 0))).float() / 255
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def random_pair(
    picture: np.ndarray, mask: np.ndarray, crop: int, symmetries: bool, seed: int, step: int, id: str
) -> tuple[np.ndarray, np.ndarray]:
    """A random square of a picture and the same of its mask, turned and mirrored at random.

    Args:
        picture: uint8 [H, W, 3].
        mask: bool [H, W].
        crop: side, pixels; 0 takes all of it.
        symmetries: one of the eight of a square; of a picture that is none, and whole, of the four that keep its sides.
        seed, step, id: what it is drawn from.

    Returns:
        The picture and the mask.

    Raises:
        AudiokdError: the picture is smaller than the crop.
    """
    rng = rng_of(seed, "mask view", step, id)
    height, width = mask.shape
    if crop:
        if min(height, width) < crop:
            what = f"{width} x {height} pixels are no crop of {crop}"
            raise AudiokdError(what, where=id, fix="a smaller --data.crop, or 0 for whole pictures of one size")
        top, left = (int(rng.integers(0, side - crop + 1)) for side in (height, width))
        picture, mask = (x[top : top + crop, left : left + crop] for x in (picture, mask))
    if symmetries:
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        if mask.shape[0] != mask.shape[1]:
            turns -= turns % 2
        picture, mask = (np.rot90(x, turns) for x in (picture, mask))
        if mirrored:
            picture, mask = picture[:, ::-1], mask[:, ::-1]
    return picture, mask
