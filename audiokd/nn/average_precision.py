"""Average precision of tags, for training and scoring alike. (torchmetrics' macro mean counts a tag that no row has as 0.)"""

from __future__ import annotations

import torch
from torch import Tensor


def mean_average_precision(scores: Tensor, tags: Tensor) -> float:
    """Mean over tags of average precision; tags that no row has are left out, NaN if no row has any.

    Args:
        scores: [N, C], higher is likelier.
        tags: [N, C] of 0 and 1.
    """
    order = scores.argsort(dim=0, descending=True, stable=True)
    hit = tags.to(torch.float64).gather(0, order)
    at = torch.arange(1, len(hit) + 1, device=hit.device, dtype=torch.float64)[:, None]
    positives = hit.sum(0)
    precision = (hit * hit.cumsum(0) / at).sum(0) / positives.clamp(min=1)
    there = positives > 0
    return float(precision[there].mean()) if bool(there.any()) else float("nan")
