"""DBFAD's bottleneck: all maps of the teacher in one of half the coarsest one's size (official code of arXiv 2401.02287).

A branch a map brings it to the size and width of the coarsest by convolutions of 1x1, strided where the size is halved; the
branches are
added up, two convolutions of 1x1 follow, and a third halves the size and doubles the width; then SSPCAB and attention. Each
convolution is followed by ReLU, then batch norm.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from audiokd.vision.sspcab import SSPCAB
from audiokd.vision.width_attention import WidthAttention


class LevelEmbedding(nn.Module):
    """Maps to [B, 2 C, H / 2, W / 2], where the coarsest is [B, C, H, W].

    Args:
        channels: of the maps, from the finest.
        strides: of the maps.
        attention: gate by the softmax over the width.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], attention: bool = True):
        super().__init__()
        last, width = strides[-1], channels[-1]
        of_stride = dict(zip(strides, channels))  # of t0 and t1, which have one stride, neither is the next
        self.branches = nn.ModuleList()
        for c, stride in zip(channels, strides):
            layers: list[nn.Module] = []
            while stride < last:
                stride *= 2
                layers += _pointwise(c, of_stride[stride], 2)
                c = of_stride[stride]
            self.branches.append(nn.Sequential(*(layers or _pointwise(c, width, 1))))
        self.embed = nn.Sequential(
            *_pointwise(width, width, 1), *_pointwise(width, width, 1), *_pointwise(width, 2 * width, 2)
        )
        self.predict = SSPCAB(2 * width)
        self.attend = WidthAttention(2 * width, kernel=3, shared=True, gated=attention)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = sum(branch(m) for branch, m in zip(self.branches, maps))
        return self.attend(self.predict(self.embed(x)))


def _pointwise(channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out_channels, 1, stride), nn.ReLU(), nn.BatchNorm2d(out_channels)]
