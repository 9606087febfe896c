"""Strided pointwise convolutions that oneDNN cannot train safely, as a slice and a convolution of stride 1.

On CPUs with AVX2 and no AVX-512, oneDNN's kernel of the weights' gradient writes past its scratch memory where a 1 x 1
convolution has a stride, channels last and 3 channels, as MobileOne's stem does (torch 2.11, by valgrind; not seen with 13 or 16
channels, nor without a stride): the process dies, now or at a later allocation. A point of stride s sees every s-th
pixel alone, so those are taken first, of any number of channels that does not fill vectors: the same numbers of the same weights.
"""

from __future__ import annotations

from torch import Tensor, nn

#: floats of a vector of AVX2
LANES = 8


class TakeEvery:
    """A hook before a convolution: each `stride`-th row and column of [B, C, H, W]."""

    def __init__(self, stride: tuple[int, int]):
        self.down, self.across = stride

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][..., :: self.down, :: self.across], *inputs[1:])


def slice_strided_pointwise(net: nn.Module) -> nn.Module:
    """`net`, whose strided pointwise convolutions of a number of channels that eight does not divide slice first; weights keep
    their names.
    """
    for conv in net.modules():
        if not isinstance(conv, nn.Conv2d) or conv.groups != 1 or conv.in_channels % LANES == 0:
            continue
        if conv.kernel_size == (1, 1) and conv.stride != (1, 1) and conv.padding == (0, 0):
            conv.register_forward_pre_hook(TakeEvery((conv.stride[0], conv.stride[1])))
            conv.stride = (1, 1)
    return net
