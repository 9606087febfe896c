"""Residual blocks (He et al., arXiv 1512.03385) that halve the picture, keep its size, or double it.

A block that doubles is that which halves turned round: a transposed convolution of 2x2 in the place of the strided one, in the
branch and
in the shortcut (RD4AD, arXiv 2201.10703).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn

Size: TypeAlias = Literal["half", "same", "double"]
Kind: TypeAlias = Literal["basic", "bottleneck"]


class ResidualBlock(nn.Module):
    """[B, C, H, W] to [B, D, H', W'].

    Args:
        channels: C.
        out_channels: D.
        size: of the result.
        kind: basic, two convolutions of 3x3; or bottleneck, 1x1, 3x3 of half of D as in Wide ResNet-50-2, and 1x1.
    """

    def __init__(self, channels: int, out_channels: int, size: Size = "same", kind: Kind = "basic"):
        super().__init__()
        if kind == "basic":
            parts = [_spatial(channels, out_channels, size), nn.BatchNorm2d(out_channels), nn.ReLU()]
            parts += [_spatial(out_channels, out_channels), nn.BatchNorm2d(out_channels)]
        else:
            inner = out_channels // 2
            parts = [nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()]
            parts += [_spatial(inner, inner, size), nn.BatchNorm2d(inner), nn.ReLU()]
            parts += [nn.Conv2d(inner, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
        self.branch = nn.Sequential(*parts)
        self.shortcut: nn.Module = nn.Identity()
        if size != "same" or channels != out_channels:
            self.shortcut = nn.Sequential(_shortcut(channels, out_channels, size), nn.BatchNorm2d(out_channels))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.branch(x) + self.shortcut(x))


def residual_stage(channels: int, out_channels: int, depth: int, size: Size, kind: Kind = "basic") -> nn.Sequential:
    """`depth` blocks, the first of which changes the size."""
    first = ResidualBlock(channels, out_channels, size, kind)
    return nn.Sequential(first, *(ResidualBlock(out_channels, out_channels, "same", kind) for _ in range(depth - 1)))


def init_fan_out(net: nn.Module) -> None:
    """Kaiming's normal weights by the fan out (arXiv 1502.01852), as of torchvision's ResNets; norms are one and zero."""
    for m in net.modules():
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)


def _spatial(channels: int, out_channels: int, size: Size = "same") -> nn.Module:
    if size == "double":
        return nn.ConvTranspose2d(channels, out_channels, 2, 2, bias=False)
    return nn.Conv2d(channels, out_channels, 3, 2 if size == "half" else 1, 1, bias=False)


def _shortcut(channels: int, out_channels: int, size: Size) -> nn.Module:
    if size == "double":
        return nn.ConvTranspose2d(channels, out_channels, 2, 2, bias=False)
    return nn.Conv2d(channels, out_channels, 1, 2 if size == "half" else 1, bias=False)
