"""Which query learns which box."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from audiokd.vision.box_code import to_code

Matching: TypeAlias = Literal["identity", "hungarian"]


def hungarian(logits: Tensor, code: Tensor, boxes: Tensor, labels: Tensor, weights: tuple[float, float]) -> Tensor:
    """[N] int64: the box of each query of one item, at the least cost: focal loss of its class and L1 of the code.

    The official code's configuration names it; query i is made of object i's own point, so that the identity is the default here.

    Args:
        logits: [N, K].
        code: [N, 8].
        boxes: [N, >= 7].
        labels: [N].
        weights: of the two costs.
    """
    p = logits.detach().float().sigmoid()
    gain = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log() - 0.75 * p**2 * -(1 - p + 1e-8).log()
    distance = torch.cdist(code.detach().float(), to_code(boxes).float(), p=1)
    cost = weights[0] * gain[:, labels] + weights[1] * distance
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    out = torch.empty(len(boxes), dtype=torch.long)
    out[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return out.to(labels.device)
