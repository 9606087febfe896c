"""Someone else's causal convolutions on a recording that comes in pieces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiokd.nn.conv_reach import conv_reach


class HeldConvs:
    """Called with one piece after another, [B, C, t] each, gives the outputs that `net` gives of all of them at once.

    It holds as much of the input as an output can hear. The first piece begins as `net` begins, with its own padding there.

    Args:
        net: convolutions that hear nothing to their right, on whole frames.
        in_size: positions of the input a frame; pieces are of whole frames.
        out_size: positions of the output a frame.
    """

    def __init__(self, net: nn.Module, in_size: int = 1, out_size: int = 1):
        self.net, self.in_size, self.out_size = net, in_size, out_size
        self.field = (conv_reach(net) // in_size + 1) * in_size
        self.held: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        skip = 0
        if self.held is not None:
            skip = self.held.shape[-1] // self.in_size * self.out_size
            x = torch.cat([self.held, x], -1)
        self.held = x[..., -self.field :]
        return self.net(x)[..., skip:]
