"""AdamW of a run's settings, and the learning rate of a step set where optimisers look for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from audiokd.training.schedules import constant_then_cosine, warmup_cosine
from audiokd.training.settings import AdamWSettings, PromptOptimSettings, RunSettings


def matrices_decay(parameters: Iterable[nn.Parameter], optim: AdamWSettings) -> torch.optim.AdamW:
    """AdamW of those that are trained: matrices, the first group, with weight decay; biases and norms, the second, without."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": optim.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=optim.lr, betas=(optim.beta1, optim.beta2), eps=optim.eps)


def set_prompt_rate(step: int, optim: PromptOptimSettings, run: RunSettings, optimizer: torch.optim.Optimizer) -> float:
    """Set every group of `optimizer` to the rate of `step` of `run` by `constant_then_cosine`, and return it."""
    lr = constant_then_cosine(
        step, first=optim.first_lr, peak=optim.lr, warmup_steps=optim.warmup_steps, total_steps=run.max_steps
    )
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr


def set_learning_rate(
    step: int,
    optim: AdamWSettings,
    run: RunSettings,
    *optimizers: torch.optim.Optimizer,
    schedule: Callable[..., float] = warmup_cosine,
) -> float:
    """Set every group of `optimizers` to the rate that `schedule` has at `step` of `run` with `optim`'s peak, floor and warm-up,
    and return it."""
    lr = schedule(step, peak=optim.lr, floor=optim.min_lr, warmup_steps=optim.warmup_steps, total_steps=run.max_steps)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
    return lr
