r"""Cosine distance of a student's feature maps from a teacher's, each map as one vector: RD4AD's official code (hq-deng/RD4AD).

.. math:: \mathcal{L} = \sum_l \frac{1}{B} \sum_b \Big(1 - \cos\big(\mathrm{vec}(t_{b, l}), \mathrm{vec}(s_{b, l})\big)\Big)

The paper (arXiv 2201.10703) has the distance cell by cell (`pixel_cosine`); its published numbers are this one's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def flat_cosine(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """The sum over maps of the mean over the batch, scalar, float32. The gradient reaches the student alone.

    Args:
        student: maps [B, C_l, H_l, W_l].
        teacher: the same of the teacher.

    Raises:
        ValueError: maps of other shapes, or another number of them.
    """
    shapes = [[m.shape for m in of] for of in (student, teacher)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"maps {[list(s) for s in shapes[0]]} of the student, {[list(s) for s in shapes[1]]} of the teacher"
        )
    each = [
        1 - F.cosine_similarity(s.float().flatten(1), t.detach().float().flatten(1)).mean()
        for s, t in zip(student, teacher)
    ]
    return torch.stack(each).sum()
