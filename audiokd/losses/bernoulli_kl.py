r"""Kullback-Leibler divergence of a student's pixels from a teacher's, each a Bernoulli variable of its own.

Response distillation (Hinton et al., arXiv 1503.02531) and deep mutual learning (Zhang et al., arXiv 1706.00384) for masks of one
class, as arXiv 2311.03867 compares them:

.. math:: \mathcal{L} = \frac{T^2}{B H W} \sum_{b, x} p \log\frac{p}{q} + (1 - p) \log\frac{1 - p}{1 - q},
          \quad p = \sigma(t / T), \; q = \sigma(s / T)

Logarithms are of the logits, so that no probability of 0 or 1 is met.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def bernoulli_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """The divergence, scalar, in float32 whatever the autocast. The gradient reaches the student alone.

    Args:
        student: logits [B, H, W].
        teacher: logits [B, H, W].
        temperature: T.

    Raises:
        ValueError: of another shape.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"logits {list(student.shape)} of the student, {list(teacher.shape)} of the teacher")
    s, t = student.float() / temperature, teacher.detach().float() / temperature
    p = t.sigmoid()
    yes, no = F.logsigmoid(t) - F.logsigmoid(s), F.logsigmoid(-t) - F.logsigmoid(-s)
    return temperature**2 * (p * yes + (1 - p) * no).mean()
