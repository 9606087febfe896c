"""The learning rate of a step, set where optimisers look for it."""

from __future__ import annotations

import torch

from audiokd.training.schedules import warmup_cosine
from audiokd.training.settings import AdamWSettings, RunSettings


def set_learning_rate(step: int, optim: AdamWSettings, run: RunSettings, *optimizers: torch.optim.Optimizer) -> float:
    """Set every group of `optimizers` to the rate that the schedule of `optim` has at `step` of `run`, and return it."""
    lr = warmup_cosine(
        step, peak=optim.lr, floor=optim.min_lr, warmup_steps=optim.warmup_steps, total_steps=run.max_steps
    )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
    return lr
