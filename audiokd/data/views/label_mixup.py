"""Mixup (Zhang et al., arXiv 1710.09412) of features and of whatever is mixed along with them: labels, teachers' words."""

from __future__ import annotations

from dataclasses import dataclass

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
