"""A ResNet turned round, from a bottleneck's map to the maps of a teacher: the students of RD4AD and DBFAD.

RD4AD (arXiv 2201.10703): each stage doubles the size by transposed convolutions. DBFAD (arXiv 2401.02287, official code) adds
what the teacher's finer maps say to the outputs of coarser stages, before the next one: residual paths, which the variant for
domain
generalisation leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from audiokd.vision.residual_blocks import Kind, residual_stage
from audiokd.vision.width_attention import WidthAttention


class InvertedResNet(nn.Module):
    """[B, 2 C, H / 2, W / 2] to maps as the teacher's, from the finest; its coarsest is [B, C, H, W].

    A stage is as wide as the teacher's map or as `widths` say. Where that is another width, or the teacher's map has negative
    values,
    which no ReLU gives, a convolution of 1x1 makes the map of the stage's output.

    Args:
        channels: of the teacher's maps, from the finest.
        strides: of the maps.
        signed: of each map, whether it has negative values.
        widths: of the stages, from the finest map's; () are the maps'.
        depths: blocks of the stages, from the coarsest map's, the first that is run.
        kind: of the blocks.
        residual: DBFAD's residual paths.
        attention: gate these by the softmax over the width.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        signed: Sequence[bool],
        widths: Sequence[int] = (),
        depths: Sequence[int] = (2, 2, 2, 2),
        kind: Kind = "basic",
        residual: bool = False,
        attention: bool = True,
    ):
        super().__init__()
        widths = list(widths or channels)
        before, stride = 2 * channels[-1], 2 * strides[-1]
        self.stages, self.paths = nn.ModuleList(), nn.ModuleList()
        heads: list[nn.Module] = []
        for level, depth in zip(reversed(range(len(channels))), depths):
            size = "same" if strides[level] == stride else "double"
            self.stages.append(residual_stage(before, widths[level], depth, size, kind))  # type: ignore[arg-type]
            plain = widths[level] == channels[level] and not signed[level]
            heads.append(nn.Identity() if plain else nn.Conv2d(widths[level], channels[level], 1))
            before, stride = widths[level], strides[level]
            if residual and level:
                factor = strides[level] // strides[level - 1]
                self.paths.append(_path(channels[level - 1], widths[level], factor, attention))
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """The student's maps, of the bottleneck's `x` and of the teacher's `maps`, which residual paths alone look at."""
        out = []
        for k, (stage, head) in enumerate(zip(self.stages, self.heads)):
            x = stage(x)
            if k < len(self.paths):
                x = x + self.paths[k](maps[-2 - k])
            out.append(head(x))
        return out[::-1]


def _path(channels: int, out_channels: int, factor: int, attention: bool) -> nn.Sequential:
    """From a finer map of the teacher to a stage's output; officially an adaptive pooling to fixed sizes, which is this at 256
    pixels."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, padding=1),
        nn.AvgPool2d(factor) if factor > 1 else nn.Identity(),
        WidthAttention(out_channels, kernel=1, shared=False, gated=attention),
    )
