"""Focal loss of heat maps with soft surroundings (equation 1 of CornerNet, arXiv 1808.01244, and of CenterNet, arXiv 1904.07850).

L = -1/N sum ( (1 - p)^2 log p  where y = 1,   (1 - y)^4 p^2 log(1 - p)  elsewhere )
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

ALPHA, BETA = 2, 4  # both papers'


def heat_map_focal(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss, scalar: a sum over all cells of all maps, over the number of cells whose target is 1, at least one.

    Args:
        logits: p before the sigmoid, any shape.
        targets: y in [0, 1], of the same shape.
    """
    p = logits.sigmoid()
    peak = targets == 1
    at_peaks = (1 - p) ** ALPHA * F.logsigmoid(logits)
    elsewhere = (1 - targets) ** BETA * p**ALPHA * F.logsigmoid(-logits)
    return -(at_peaks * peak + elsewhere * ~peak).sum() / peak.sum().clamp(min=1)
