"""A query reads frames around its point, and all over its interval: RoI attention (arXiv 2403.15317) in one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.nn.deformable_attention import begin_alike, by_head, deformable_gather

NEAR = 4.0  # how much more a head weighs at first the places of the interval that are its own


class IntervalReader(nn.Module):
    """Samples of frames of several rates.

    Args:
        config: PointSedConfig.
        hops_s: seconds a frame of each rate; frame k is centred on k times that.
    """

    def __init__(self, config: Any, hops_s: Sequence[float]):
        super().__init__()
        d, h, p, levels = config.dim, config.heads, config.samples, len(hops_s)
        self.heads, self.samples, self.side, self.span, self.hops_s = h, p, config.roi_side, config.roi_span, hops_s
        self.value, self.fuse, self.dropout = nn.Linear(d, d), nn.Linear(d, d), nn.Dropout(config.dropout)
        self.offsets, self.logits = nn.Linear(d, h * levels * p), nn.Linear(d, h * levels * (p + self.side))
        way = torch.tensor([1.0, -1.0]).repeat(h)[:h]  # heads look ahead and back in turn, each sample a frame farther
        steps = way[:, None, None] * torch.arange(1, p + 1)
        begin_alike(self.offsets, steps.expand(h, levels, p).contiguous())
        begin_alike(self.logits, self._first_logits(levels))

    def _first_logits(self, levels: int) -> Tensor:
        """[heads, levels, samples + side]: of the grid over the interval each head sees a stretch of its own first."""
        out = torch.zeros(self.heads, levels, self.samples + self.side)
        if self.side:
            cells, own = torch.linspace(0, 1, self.side), torch.linspace(0, 1, self.heads)
            out[..., self.samples :] = -NEAR * (cells - own[:, None]).abs()[:, None]
        return out

    def forward(
        self, query: Tensor, position: Tensor, points: Tensor, intervals: Tensor, maps: Sequence[Tensor]
    ) -> Tensor:
        """[B, Q, D]: the query and what it read; beyond a clip's ends nothing is read.

        Args:
            query, position: [B, Q, D].
            points: [B, Q] seconds.
            intervals: [B, Q, 2] onset and offset, seconds.
            maps: of each rate, as `values` gives them.
        """
        x = query + position
        b, q, _ = x.shape
        levels = len(maps)
        hops = x.new_tensor(self.hops_s)[:, None]  # [levels, 1]
        times = points[..., None, None, None] + self.offsets(x).view(b, q, self.heads, levels, -1) * hops
        if self.side:
            middle, length = intervals.mean(-1, keepdim=True), intervals[..., 1:] - intervals[..., :1]
            grid = middle + self.span * length * torch.linspace(-0.5, 0.5, self.side).to(x)
            grid = grid[:, :, None, None].expand(-1, -1, self.heads, levels, -1)
            times = torch.cat([times, grid], -1)
        sizes = x.new_tensor([m.shape[-1] for m in maps])[:, None]
        places = (times / hops + 0.5) / sizes
        weights = self.logits(x).view(b, q, self.heads, -1).softmax(-1).view(b, q, self.heads, levels, -1)
        read = deformable_gather(maps, torch.stack([places, torch.full_like(places, 0.5)], -1), weights)
        return query + self.dropout(self.fuse(read))

    def values(self, maps: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """Frames [B, D, T_l] of each rate by head, [B, heads, D / heads, 1, T_l], zeros where `masks` [B, T_l] are False."""
        return [
            by_head(self.value, m[:, :, None], self.heads).masked_fill(~k[:, None, None, None], 0.0)
            for m, k in zip(maps, masks)
        ]
