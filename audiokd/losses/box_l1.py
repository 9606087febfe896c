"""L1 of boxes as numbers (CenterPoint, arXiv 2006.11275, section 4)."""

from __future__ import annotations

from torch import Tensor


def box_l1(found: Tensor, wanted: Tensor) -> Tensor:
    """sum |found - wanted| / N, scalar, of `found` and `wanted` [N, D]: a sum over D, a mean over boxes; 0 of none."""
    return (found - wanted).abs().sum() / max(len(found), 1)
