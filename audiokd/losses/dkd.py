r"""Decoupled knowledge distillation (Zhao et al., arXiv 2203.08679, equation 7).

With the student's logits s, the teacher's t and the true class y, at temperature T: b = (p_y, 1 - p_y) and p^ the softmax over the
classes that are not y,

.. math:: \mathcal{L} = \frac{T^2}{B} \sum \alpha\, \mathrm{KL}(b^t \| b^s) + \beta\, \mathrm{KL}(\hat p^t \| \hat p^s)

Hinton's divergence is this with alpha = 1 and beta = 1 - p_y^t.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def dkd_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, alpha: float, beta: float, temperature: float
) -> tuple[Tensor, Tensor]:
    """The target class' part and the other classes' part, weighted; scalars, means over the batch, float32.

    Args:
        student, teacher: logits [B, C] of two classes or more; the gradient reaches the student alone.
        labels: classes [B].
        alpha, beta: weights.
        temperature: T.

    Raises:
        ValueError: other classes.
    """
    if student.shape != teacher.shape or student.shape[1] < 2:
        raise ValueError(f"logits {list(student.shape)} of the student, {list(teacher.shape)} of the teacher")
    (b_s, o_s), (b_t, o_t) = (_parts(x.float() / temperature, labels) for x in (student, teacher.detach()))
    target = F.kl_div(b_s, b_t, reduction="batchmean", log_target=True) * temperature**2
    others = F.kl_div(o_s, o_t, reduction="batchmean", log_target=True) * temperature**2
    return alpha * target, beta * others


def _parts(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities [B, 2] of the class and of all others, and [B, C - 1] of the others among themselves."""
    is_target = F.one_hot(labels, logits.shape[1]).bool()
    own = logits[is_target][:, None]
    others = logits[~is_target].view(len(logits), -1)
    binary = torch.cat([own, others.logsumexp(1, keepdim=True)], 1)
    return binary.log_softmax(1), others.log_softmax(1)
