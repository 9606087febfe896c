"""Focal loss of classes that are each a question of their own (RetinaNet, arXiv 1708.02002, equation 5).

L = -1/N sum alpha_t (1 - p_t)^gamma log p_t
"""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import sigmoid_focal_loss


def sigmoid_focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The loss, scalar: a sum over objects and classes, over the number of objects, at least one.

    Args:
        logits: [N, K].
        targets: [N, K] of 0 and 1.
        alpha: weight of a class that is there; 1 - alpha is that of the others.
        gamma: the greater, the less what is known already counts.
    """
    return sigmoid_focal_loss(logits, targets.to(logits), alpha, gamma, reduction="sum") / max(len(logits), 1)
