"""Convolutions with weight normalisation w = g v / |v| (https://arxiv.org/abs/1602.07868), foldable for inference.

Parameters are named `weight_g`, `weight_v`, `bias`, as in the checkpoints of DAC, LM-SPT and EnCodec.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _WeightNorm(nn.Module):
    """Holds g, v, bias made from a torch convolution's own initialisation; `fold()` fixes the weight for inference."""

    def __init__(self, conv: nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d):
        super().__init__()
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        self.kernel_size = conv.kernel_size
        v = conv.weight.detach()
        self.weight_v = nn.Parameter(v.clone())
        self.weight_g = nn.Parameter(v.flatten(1).norm(dim=1).view(-1, *[1] * (v.ndim - 1)))
        self.bias = nn.Parameter(conv.bias.detach().clone())
        self.folded: Tensor | None

        self.register_buffer("folded", None, persistent=False)

    @property
    def weight(self) -> Tensor:
        """The effective weight, g v / |v| over all axes but the first."""
        return self.folded if self.folded is not None else torch._weight_norm(self.weight_v, self.weight_g, 0)

    def fold(self) -> None:
        """Compute the weight once; later changes of g and v are not seen."""
        with torch.no_grad():
            self.folded = torch._weight_norm(self.weight_v, self.weight_g, 0).clone()


class WNConv1d(_WeightNorm):
    """Conv1d with weight norm. Shape: [B, C_in, T] -> [B, C_out, T']."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1):
        super().__init__(nn.Conv1d(c_in, c_out, kernel_size, stride, padding, dilation))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


class WNConvTranspose1d(_WeightNorm):
    """ConvTranspose1d with weight norm over the input axis (weight_g is [C_in, 1, 1]). Shape: [B, C_in, T] -> [B, C_out, T']."""

    def __init__(self, c_in: int, c_out: int, kernel_size: int, stride: int, padding: int):
        super().__init__(nn.ConvTranspose1d(c_in, c_out, kernel_size, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(x, self.weight, self.bias, self.stride, self.padding)


class WNConv2d(_WeightNorm):
    """Conv2d with weight norm. Shape: [B, C_in, H, W] -> [B, C_out, H', W']."""

    def __init__(self, c_in: int, c_out: int, kernel_size, stride=1, padding=0):
        super().__init__(nn.Conv2d(c_in, c_out, kernel_size, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


def zero_biases(module: nn.Module) -> None:
    """Start every weight-normed convolution below `module` without bias, as DAC does.

    A default bias outweighs the signal some layers down: every frame of an untrained encoder would point the same way.
    """
    for m in module.modules():
        if isinstance(m, _WeightNorm):
            nn.init.zeros_(m.bias)


def keep_variance(conv: _WeightNorm) -> _WeightNorm:
    """Scale a fresh convolution so that its output varies as much as its input; gives it back.

    torch draws weights with variance 1 / (3 fan_in): each layer without a skip path shrinks the signal by sqrt(3).
    """
    with torch.no_grad():
        conv.weight_g.mul_(3**0.5)
    return conv


def fold_weight_norm(module: nn.Module) -> nn.Module:
    """Fold every weight-normed convolution below `module`, in place."""
    for m in module.modules():
        if isinstance(m, _WeightNorm):
            m.fold()
    return module
