r"""Cosine distance of feature maps, cell by cell (STFPM, arXiv 2103.04257; RD4AD, arXiv 2201.10703; DBFAD, arXiv 2401.02287).

.. math:: \mathcal{L} = \sum_l w_l\, \frac{1}{H_l W_l} \sum_{h, w} \big(1 - \cos(t_l^{hw}, s_l^{hw})\big), \qquad
   1 - \cos(t, s) = \tfrac{1}{2} \Big\| \tfrac{t}{\|t\|} - \tfrac{s}{\|s\|} \Big\|^2

w_l = 1 / L ("mean", DBFAD's) or 1 ("sum", STFPM and RD4AD). Over a batch the mean is taken,
or, as in DBFAD's official code, the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import Tensor, nn

Over: TypeAlias = Literal["mean", "sum"]


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cos over the channels of maps [B, C, H, W], [B, H, W] in [0, 2], float32 whatever the autocast.

    Raises:
        ValueError: maps of other shapes.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"a map {list(student.shape)} of the student, {list(teacher.shape)} of the teacher")
    s, t = nn.functional.normalize(student.float(), dim=1), nn.functional.normalize(teacher.float(), dim=1)
    return 0.5 * (t - s).square().sum(1)  # of equal maps it is 0, and not what is left of 1 - 1


def pixel_cosine(
    student: Sequence[Tensor], teacher: Sequence[Tensor], layers: Over = "mean", items: Over = "mean"
) -> Tensor:
    """The distance, scalar. The gradient reaches the student alone.

    Args:
        student: maps [B, C_l, H_l, W_l].
        teacher: the same of the teacher.
        layers: mean or sum over the maps.
        items: mean or sum over the batch.

    Raises:
        ValueError: maps of other shapes, or another number of them.
    """
    if len(student) != len(teacher):
        raise ValueError(f"{len(student)} maps of the student, {len(teacher)} of the teacher")
    rows = sum(cosine_distance(s, t.detach()).mean((1, 2)) for s, t in zip(student, teacher))
    assert isinstance(rows, Tensor)
    total = rows.mean() if items == "mean" else rows.sum()
    return total / len(student) if layers == "mean" else total
