r"""Cross-entropy with labels that nobody gave, where they can be trusted (FixMatch, arXiv 2001.07685; S3A, arXiv 2308.12960).

.. math:: \mathcal{L} = \frac{1}{B} \sum_b w_b\, \mathrm{CE}(s_b, \hat y_b)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def confident_labels(teacher: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """What a teacher's logits [B, C] say: classes [B], and Bool [B] where their probability is above `threshold`."""
    top, labels = teacher.detach().float().softmax(-1).max(-1)
    return labels, top > threshold


def pseudo_label_loss(student: Tensor, labels: Tensor, kept: Tensor | None = None) -> Tensor:
    """The mean over all rows, those that are not `kept` counting nothing; scalar, float32.

    Args:
        student: logits [B, C].
        labels: classes [B].
        kept: Bool [B]; all by default.
    """
    each = F.cross_entropy(student.float(), labels, reduction="none")
    return (each if kept is None else torch.where(kept, each, torch.zeros_like(each))).mean()
