"""DBFAD's gates: a map times the softmax of another along the width (official code of arXiv 2401.02287).

The softmax runs over the cells of a row, not over all positions or the channels, so that a gate's mean is one part in the width;
a flag
leaves the gates out.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class WidthAttention(nn.Module):
    """softmax over the width of g(h) times f, [B, C, H, W] to the same; f = ReLU(conv x), h = f or another ReLU(conv x).

    Args:
        channels: C.
        kernel: of the convolutions.
        shared: whether h is f, as behind the bottleneck; on the residual paths it is not.
        gated: False gives f alone.
    """

    def __init__(self, channels: int, kernel: int, shared: bool, gated: bool = True):
        super().__init__()
        how = {"kernel_size": kernel, "padding": kernel // 2}
        self.value = nn.Conv2d(channels, channels, **how)
        self.query = None if shared or not gated else nn.Conv2d(channels, channels, **how)
        self.score = nn.Conv2d(channels, channels, **how) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        value = F.relu(self.value(x))
        if self.score is None:
            return value
        query = value if self.query is None else F.relu(self.query(x))
        return self.score(query).softmax(-1) * value
