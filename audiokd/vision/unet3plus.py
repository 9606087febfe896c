r"""U-Net 3+: a decoder whose every level sees all scales (Huang et al., arXiv 2004.08790, section 2.1).

Encoder maps :math:`e_1 \dots e_5` have strides 2 to 32. Decoder level i has five maps of 64 channels, joined and mixed to 320:

.. math:: d_i = H\big([\,C(\mathrm{pool}(e_k))_{k<i},\; C(e_i),\; C(\mathrm{up}(d_k))_{k>i}\,]\big), \quad d_5 = e_5

pool is a max-pool without overlap, up is bilinear, C and H a 3 x 3 convolution with batch norm and ReLU (equation 1 and figure 2).

The paper's encoder begins at stride 1; timm's begin at 2, so the logits are enlarged by two at the end. Its deep supervision,
hybrid loss and classification-guided module are left out: the losses are the run's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FILTERS = 64


class UNet3Plus(nn.Module):
    """Logits [B, 1, H, W] of images [B, 3, H, W] whose sides are multiples of the encoder's stride.

    Args:
        encoder: gives maps of strides 1, 2, 4, ... as those of segmentation_models_pytorch do, and has their `out_channels`.
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        channels: Sequence[int] = encoder.out_channels[1:]
        self.encoder = encoder
        self.decoder = FullScaleDecoder(channels)
        self.segmentation_head = nn.Conv2d(self.decoder.width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """As of the class."""
        finest = self.decoder(self.encoder(images)[1:])
        return F.interpolate(
            self.segmentation_head(finest), size=images.shape[-2:], mode="bilinear", align_corners=False
        )


class FullScaleDecoder(nn.Module):
    """The finest decoder map [B, 64 N, H / 2, W / 2] of N encoder maps, finest first.

    Args:
        channels: of each; a map of no channels, which encoders that begin at stride 4 have at stride 2, is left out.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        count = len(channels)
        self.width = FILTERS * count
        self.branches, self.mixers = nn.ModuleList(), nn.ModuleList()
        for level in range(count - 1):
            given = [channels[k] if k <= level or k == count - 1 else self.width for k in range(count)]
            self.branches.append(nn.ModuleList(block(c, FILTERS) if c else nn.Identity() for c in given))
            self.mixers.append(block(FILTERS * sum(c > 0 for c in given), self.width))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """As of the class."""
        decoded = list(maps)  # from the coarsest on these become the decoder's
        for level in reversed(range(len(maps) - 1)):
            size = maps[level].shape[-2:]
            seen = []
            for k, branch in enumerate(self.branches[level]):
                x = maps[k] if k <= level else decoded[k]
                if not x.shape[1]:
                    continue
                if k < level:
                    x = F.max_pool2d(x, 2 ** (level - k))
                elif k > level:
                    x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
                seen.append(branch(x))
            decoded[level] = self.mixers[level](torch.cat(seen, dim=1))
        return decoded[0]


def block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
