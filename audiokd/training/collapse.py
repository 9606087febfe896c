"""Whether a representation collapses: all outputs the same, or all on a few directions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ROWS = 1024


@torch.no_grad()
def normalized_std(x: Tensor) -> Tensor:
    """Mean over dimensions of the standard deviation of L2-normalised rows [N, D]: 0 if all point the same way, about
    1 / sqrt(D) if they point everywhere. As ATST logs it, with 1e-6 added to the variance."""
    rows = F.normalize(x.float(), dim=-1)
    return (rows.var(0) + 1e-6).sqrt().mean()


@torch.no_grad()
def effective_rank(x: Tensor) -> Tensor:
    """exp of the entropy of the singular values' shares of rows [N, D] (Roy and Vetterli, 2007; RankMe, arXiv 2210.02885).

    From 1 to min(N, D); of at most 1024 rows, evenly spaced.
    """
    rows = x.float()[:: -(-len(x) // MAX_ROWS)]
    share = torch.linalg.svdvals(rows)
    share = share / share.sum().clamp(min=1e-12) + 1e-7
    return torch.exp(-(share * share.log()).sum())
