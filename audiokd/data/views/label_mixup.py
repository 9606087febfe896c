"""Mixup (Zhang et al., arXiv 1710.09412) of features and of whatever is mixed along with them: labels, teachers' words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelMixup:
    """share x_i + (1 - share) x_partner(i), over the items of a batch.

    Attributes:
        share: [B], of an item itself.
        partner: [B] indices.
    """

    share: Tensor
    partner: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """`x` [B, ...] mixed."""
        share = self.share.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        return share * x + (1 - share) * x[self.partner]

    def lengths(self, n: Tensor) -> Tensor:
        """Of what is mixed of items of lengths `n` [B]: the longer one's; an item that keeps to itself keeps its own."""
        return torch.where(self.share < 1, torch.maximum(n, n[self.partner]), n)
