"""BYOL's loss (Grill et al., arXiv 2006.07733, equation 2), as ATST takes it: 2 - 2 cos(p, z), the mean over rows.

The gradient reaches the prediction p alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of 2 - 2 cos.

    Args:
        prediction: the student's [N, D].
        target: the teacher's [N, D] of another view.

    Returns:
        A scalar, float32: 0 where all point the same way, 2 where they are at right angles.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        p = F.normalize(prediction.float(), dim=-1)
        z = F.normalize(target.detach().float(), dim=-1)
        return 2.0 - 2.0 * (p * z).sum(-1).mean()
