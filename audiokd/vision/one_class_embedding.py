"""RD4AD's bottleneck: the teacher's maps fused and compressed (OCBE, arXiv 2201.10703).

Strided convolutions of 3x3 with batch norm and ReLU bring the finer maps to the coarsest; all are put side by side, and a stage of
residual blocks makes them one map of half the size and twice the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from audiokd.vision.residual_blocks import Kind, residual_stage


class OneClassEmbedding(nn.Module):
    """Maps to [B, 2 C, H / 2, W / 2], where the coarsest is [B, C, H, W].

    Args:
        channels: of the maps, each at half the size of the one before.
        depth: blocks of the residual stage.
        kind: of these.
    """

    def __init__(self, channels: Sequence[int], depth: int = 2, kind: Kind = "basic"):
        super().__init__()
        self.branches = nn.ModuleList()
        for k in range(len(channels)):
            layers: list[nn.Module] = []
            for c, d in pairwise(channels[k:]):
                layers += [nn.Conv2d(c, d, 3, 2, 1, bias=False), nn.BatchNorm2d(d), nn.ReLU()]
            self.branches.append(nn.Sequential(*layers))
        width = channels[-1]
        self.compress = residual_stage(len(channels) * width, 2 * width, depth, "half", kind)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.compress(torch.cat([branch(m) for branch, m in zip(self.branches, maps)], 1))
