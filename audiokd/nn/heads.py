"""Projection and prediction heads of BYOL (arXiv 2006.07733, section 3.2)."""

from __future__ import annotations

from torch import nn

from audiokd.nn.batch_norm import SyncBatchNorm1d


class MLPHead(nn.Sequential):
    """Linear, batch norm over all processes, ReLU, linear, on rows [N, in_dim]; neither linear layer has a bias.

    Args:
        in_dim, hidden_dim, out_dim: sizes.
    """

    def __init__(self, in_dim: int, hidden_dim: int = 4096, out_dim: int = 256):
        super().__init__(
            nn.Linear(in_dim, hidden_dim, bias=False),
            SyncBatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, out_dim, bias=False),
        )
