"""Feature maps of a frozen image backbone as targets: the teacher of anomaly detection (`audiokd.vision.feature_pyramid`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audiokd.teachers.base import FrozenTeacher
from audiokd.vision.feature_pyramid import FeaturePyramid


class PyramidTeacher(FrozenTeacher):
    """Of pictures in the place of waveforms; else as `FrozenTeacher`.

    Args:
        pyramid: with its weights.
    """

    net: FeaturePyramid

    def __init__(self, pyramid: FeaturePyramid):
        super().__init__(pyramid, len(pyramid.levels))

    def forward(self, images: Tensor, lengths: None = None) -> Any:
        """Maps [B, C_l, H_l, W_l] of `images` [B, 3, H, W], from the finest; the gradient passes to the pictures."""
        return self.net(images)

    @torch.no_grad()
    def targets(self, batch: dict[str, Tensor]) -> Any:
        """Maps of the pictures `pixel_values`."""
        return self.net(batch["pixel_values"])
