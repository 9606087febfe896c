"""How far a stack of convolutions hears."""

from __future__ import annotations

import math

from torch import nn


def conv_reach(net: nn.Module) -> int:
    """Positions of the input, to either side, beyond which an output does not hear: never too few, and too many where paddings lie
    on both sides.

    Args:
        net: convolutions that are registered in the order in which they run; of branches, all are counted.
    """
    reach, step = 0.0, 1.0
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d):
            reach += step * (layer.kernel_size[0] - 1) * layer.dilation[0]
            step *= layer.stride[0]
        elif isinstance(layer, nn.ConvTranspose1d):
            reach += step * math.ceil(layer.kernel_size[0] / layer.stride[0])
            step /= layer.stride[0]
    return math.ceil(reach)
