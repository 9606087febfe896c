"""Points of a car's frame in the pictures of its cameras, and which of them those see."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEAR = 1e-5  # metres: what is nearer, or behind, is not seen


class Seen(NamedTuple):
    """Where points are in pictures.

    Attributes:
        pixels: [..., 2] x and y; of a point that is not before the camera they mean nothing, but are numbers.
        depth: [...] metres along the optical axis.
        visible: [...] before the camera and within the picture.
    """

    pixels: Tensor
    depth: Tensor
    visible: Tensor


def camera_matrices(intrinsics: Tensor, to_camera: Tensor) -> Tensor:
    """[..., 3, 4]: from a car's frame to pixels times depth.

    Args:
        intrinsics: [..., 3, 3] pixels.
        to_camera: [..., 4, 4] metres.
    """
    return intrinsics @ to_camera[..., :3, :]


def project(points: Tensor, matrices: Tensor, size: tuple[int, int]) -> Seen:
    """Points through cameras.

    Args:
        points: [..., N, 3] metres.
        matrices: [..., 3, 4] as `camera_matrices` has them; the leading sides are those of `points` or spread over them.
        size: height and width of the pictures, pixels.
    """
    at = points @ matrices[..., :3].transpose(-1, -2) + matrices[..., None, :, 3]
    depth = at[..., 2]
    before = depth > NEAR
    pixels = at[..., :2] / torch.where(before, depth, 1.0)[..., None]
    bounds = pixels.new_tensor([size[1], size[0]])
    visible = before & ((pixels >= 0) & (pixels < bounds)).all(-1)
    return Seen(pixels, depth, visible)
