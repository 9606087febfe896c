"""Batch norm over the rows of all processes, on any device (torch's SyncBatchNorm: GPUs only), or with its statistics kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SyncBatchNorm1d(nn.BatchNorm1d):
    """`BatchNorm1d` on [N, D] whose statistics in training are those of all processes' rows together.

    Processes may have different N. With one process it is BatchNorm1d itself.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        wide = x.float()
        n = torch.full((1,), float(len(x)), device=x.device)
        sums = _sum_over_processes(torch.cat([wide.sum(0), n]))
        total = sums[-1]
        mean = sums[:-1] / total
        # of what is left of the mean: E[x^2] - E[x]^2 loses all digits where rows are alike
        var = _sum_over_processes((wide - mean).square().sum(0)) / total
        if self.track_running_stats:
            with torch.no_grad():
                momentum = self.momentum if self.momentum is not None else 0.1
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_((var * total / (total - 1)).to(self.running_var.dtype), momentum)
                self.num_batches_tracked += 1
        out = (wide - mean) * (var + self.eps).rsqrt()
        if self.affine:
            out = out * self.weight + self.bias
        return out.to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced too: each process' loss depends on every process' rows."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def _sum_over_processes(x: Tensor) -> Tensor:
    return _SumOverProcesses.apply(x)


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch and instance norms work on copies of their running statistics: the same batch is not counted twice, and a pass that
    was not finite leaves no trace."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    kept = [(m, name, b) for m in norms for name, b in m.named_buffers(recurse=False)]
    for m, name, buffer in kept:
        setattr(m, name, buffer.clone())
    try:
        yield
    finally:
        for m, name, buffer in kept:
            setattr(m, name, buffer)
