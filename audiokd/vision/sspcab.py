r"""Self-supervised predictive convolutional attentive block (Ristea et al., arXiv 2111.09099).

A masked convolution predicts a cell from the four corners of its surroundings, and channels are gated by squeeze and excitation:

.. math:: y = \mathrm{ReLU}\Big(\sum_{i=1}^{4} W_i * x_i\Big), \qquad z = y \cdot \sigma(V\, \mathrm{ReLU}(U\, \bar y))

x_i are the four corners, k' x k' each, at the distance d from the cell. The block's own reconstruction loss is not used in DBFAD.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SSPCAB(nn.Module):
    """[B, C, H, W] to the same.

    Args:
        channels: C.
        kernel: k', side of a corner.
        dilation: d.
        reduction: of the channels in the gate.
    """

    def __init__(self, channels: int, kernel: int = 1, dilation: int = 1, reduction: int = 8):
        super().__init__()
        self.kernel, self.dilation = kernel, dilation
        self.corners = nn.ModuleList(nn.Conv2d(channels, channels, kernel) for _ in range(4))
        inner = max(1, channels // reduction)
        self.gate = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2] + self.kernel - 1, x.shape[-1] + self.kernel - 1
        far = self.kernel + 2 * self.dilation + 1
        x = F.pad(x, (self.kernel + self.dilation,) * 4)
        places = [(top, left) for top in (0, far) for left in (0, far)]
        parts = [conv(x[..., t : t + height, a : a + width]) for conv, (t, a) in zip(self.corners, places)]
        y = F.relu(parts[0] + parts[1] + parts[2] + parts[3])
        return y * self.gate(y.mean((-2, -1)))[..., None, None]
