"""Norms whose running statistics are kept: whatever passes leaves them as they were."""

from __future__ import annotations

import torch
from torch import nn

from audiokd.nn.batch_norm import SyncBatchNorm1d, statistics_kept


def test_a_pass_leaves_no_trace_and_gives_what_it_gives() -> None:
    torch.manual_seed(0)
    norms = [
        (nn.BatchNorm1d(3), torch.randn(5, 3)),
        (nn.BatchNorm2d(3, momentum=None), torch.randn(5, 3, 2, 2)),
        (SyncBatchNorm1d(3), torch.randn(5, 3)),
        (nn.InstanceNorm1d(3, track_running_stats=True), torch.randn(5, 3, 4)),
        (nn.BatchNorm1d(3, track_running_stats=False), torch.randn(5, 3)),
    ]
    for norm, x in norms:
        norm(x)
        before = {k: v.clone() for k, v in norm.state_dict().items()}
        held, momentum = dict(norm.named_buffers()), norm.momentum
        with statistics_kept(nn.Sequential(norm)):
            there = norm(x)
            norm(torch.full_like(x, torch.inf))
        assert all(torch.equal(v, before[k]) for k, v in norm.state_dict().items()), norm
        assert all(b is held[k] for k, b in norm.named_buffers())
        assert norm.momentum == momentum
        assert torch.equal(norm(x), there)
        after = {k: v for k, v in norm.state_dict().items() if k in held}
        assert not held or any(not torch.equal(v, before[k]) for k, v in after.items())  # alone it counts
