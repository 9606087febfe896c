"""Variational score distillation (ProlificDreamer, arXiv 2305.16213; SwiftBrush, arXiv 2312.05239; TiUE, arXiv 2505.21960).

A sample is moved to where a teacher's noise and that of a model of the student's own samples, the fake score, differ: with
g = (1 - a_t) (e_teacher - e_fake), L = 1/2 mean (x - stopgrad(x - g))^2, so that dL/dx = g / numel.
"""

from __future__ import annotations

import torch
from torch import Tensor


def variational_score(sample: Tensor, teacher: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """A scalar whose gradient at `sample` is g / numel; its value is that of g, and says nothing of how far training has come.

    Args:
        sample: [B, ...], what the student made.
        teacher, fake: noise [B, ...] that each says is in the sample noised to t.
        alpha: a_t [B], the schedule's cumulative product there.
    """
    weight = (1 - alpha).reshape((-1,) + (1,) * (sample.ndim - 1))
    step = torch.nan_to_num(weight * (teacher - fake))
    return 0.5 * (sample - (sample - step).detach()).square().mean()
