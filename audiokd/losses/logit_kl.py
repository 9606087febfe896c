r"""Kullback-Leibler divergence of a student's class distribution from a teacher's (Hinton et al., arXiv 1503.02531).

.. math:: \mathcal{L} = T^2\, \frac{1}{Z} \sum_b \mathrm{KL}\big(\mathrm{softmax}(t_b / T)\,\|\,\mathrm{softmax}(s_b / T)\big)

Z is the batch B ("batchmean", the mean over rows of the divergence) or, in the official code of PromptSRC and PromptKD, all B C
elements ("numel"): C times less, so that one weight is another weight for another list of classes.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor
from torch.nn import functional as F

Reduction: TypeAlias = Literal["batchmean", "numel"]


def logit_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0, reduction: Reduction = "batchmean") -> Tensor:
    """The divergence, scalar, in float32 whatever the autocast. The gradient reaches the student alone.

    Args:
        student: logits [B, C].
        teacher: logits [B, C].
        temperature: T.
        reduction: what Z is.

    Raises:
        ValueError: other classes, or no such reduction.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"logits {list(student.shape)} of the student, {list(teacher.shape)} of the teacher")
    if reduction not in ("batchmean", "numel"):
        raise ValueError(f"reduction {reduction!r} is neither batchmean nor numel")
    log_q = F.log_softmax(student.float() / temperature, dim=-1)
    log_p = F.log_softmax(teacher.detach().float() / temperature, dim=-1)
    total = F.kl_div(log_q, log_p, reduction="sum", log_target=True) * temperature**2
    return total / (len(student) if reduction == "batchmean" else student.numel())
