"""Rows of all processes in each of them, with gradients: what a loss over the whole batch, such as a contrastive one, needs."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(x: Tensor) -> Tensor:
    """[N, ...] of all processes' rows, by rank, of this one's [n, ...]: n may differ between processes, every one has to ask.

    A loss over them is the same in every process. Its gradient comes back summed over processes, so that what it gives their
    parameters on the average over processes (as DDP takes it) is the gradient of that one loss.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return x
    return _Gathered.apply(x)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        counts = [torch.zeros(1, dtype=torch.long, device=x.device) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
        rows = [int(c) for c in counts]
        ctx.before, ctx.rows = sum(rows[: dist.get_rank()]), len(x)
        mine = x.new_zeros(max(rows), *x.shape[1:])
        mine[: len(x)] = x
        parts = [torch.empty_like(mine) for _ in rows]
        dist.all_gather(parts, mine)
        return torch.cat([part[:n] for part, n in zip(parts, rows)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        found = gradients[0].contiguous()
        dist.all_reduce(found)
        return found[ctx.before : ctx.before + ctx.rows]
