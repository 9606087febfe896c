"""A teacher that is the exponential moving average of its student."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """teacher = decay * teacher + (1 - decay) * student, over parameters in order; buffers stay the teacher's own.

    Args:
        teacher, student: modules of the same parameters; the student may have more behind them.
        decay: 0 copies, 1 leaves the teacher as it is.
    """
    mine, theirs = list(teacher.parameters()), list(student.parameters())
    if mine:
        torch._foreach_lerp_(mine, theirs[: len(mine)], 1.0 - decay)
