"""Coefficient of determination: the share of a variable's variance that a prediction explains."""

from __future__ import annotations

import torch
from torch import Tensor


def r2(prediction: Tensor, y: Tensor) -> Tensor:
    """1 - sum (y - p)^2 / sum (y - mean y)^2 of each column of [N, C]: [C]; NaN where y does not vary."""
    p, t = prediction.double(), y.double()
    left = (t - p).square().sum(0)
    whole = (t - t.mean(0)).square().sum(0)
    return torch.where(whole > 0, 1 - left / whole, torch.nan)
