"""The 2-D network of SECOND (Sensors 2018, 18(10):3337) and PointPillars (arXiv 1812.05784, section 2.2), over the ground."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SecondBackbone(nn.Module):
    """Stages of 3 x 3 convolutions, the first of each with the stage's stride.

    Args:
        channels: of the map that goes in.
        widths, depths, strides: of each stage; its depth is the convolutions behind the first.
    """

    def __init__(self, channels: int, widths: Sequence[int], depths: Sequence[int], strides: Sequence[int]):
        super().__init__()
        stages = []
        for width, depth, stride in zip(widths, depths, strides, strict=True):
            blocks = [conv_block(channels, width, stride), *(conv_block(width, width) for _ in range(depth))]
            stages.append(nn.Sequential(*blocks))
            channels = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """A map of each stage [B, width, H / strides so far, W / strides so far] of `x` [B, channels, H, W]."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class SecondNeck(nn.Module):
    """Maps of all stages brought to the size of the first and laid side by side.

    Args:
        widths, strides: of the stages.
        channels: that each stage has in the result.

    Attributes:
        channels: of the result.
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[int], channels: int):
        super().__init__()
        self.channels = channels * len(widths)
        factors = [1]
        for stride in strides[1:]:
            factors.append(factors[-1] * stride)
        self.ups = nn.ModuleList(_up(width, channels, f) for width, f in zip(widths, factors))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """[B, channels, H, W] of the first map's size."""
        return torch.cat([up(x) for up, x in zip(self.ups, maps)], 1)


def conv_block(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, batch norm, ReLU."""
    conv = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width, eps=1e-3, momentum=0.01), nn.ReLU())


def _up(width: int, channels: int, factor: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(width, channels, factor, factor, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01), nn.ReLU())
