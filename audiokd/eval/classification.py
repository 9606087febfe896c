"""Scores of classes and tags: accuracy, mean average precision, each with a bootstrap interval over utterances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from audiokd.eval.table import Summary, summarise_drawn, summarise_rate
from audiokd.nn.average_precision import mean_average_precision

Task: TypeAlias = Literal["class", "tags"]
DRAWS = 200


def metric_of(task: Task) -> str:
    """What a task is scored by."""
    return "accuracy" if task == "class" else "mAP"


def score(logits: Tensor, y: Tensor, task: Task) -> float:
    """Accuracy of `logits` [N, C] for classes `y` [N], or mAP for tags [N, C] of 0 and 1."""
    if task == "class":
        return float((logits.argmax(-1) == y).float().mean())
    return mean_average_precision(logits, y)


def score_labels(logits: Tensor, y: Tensor, task: Task, names: Sequence[str]) -> dict[str, float | None]:
    """What each label scores: recall of a class, average precision of a tag; None where no row has it."""
    found: dict[str, float | None] = {}
    for k, name in enumerate(names):
        if task == "class":
            rows = y == k
            found[name] = score(logits[rows], y[rows], task) if bool(rows.any()) else None
        else:
            found[name] = mean_average_precision(logits[:, [k]], y[:, [k]]) if bool(y[:, k].any()) else None
    return found


def score_summary(logits: Tensor, y: Tensor, task: Task, groups: Tensor | None = None) -> Summary:
    """The score of `score` with a 95% bootstrap interval.

    Args:
        logits, y, task: as `score`.
        groups: [N] utterance of each row, which the bootstrap draws as a whole; each row its own if left out.
    """
    groups = torch.arange(len(logits), device=logits.device) if groups is None else groups
    groups = groups.unique(return_inverse=True)[1]
    n = int(groups.max()) + 1
    if task == "class":
        right = (logits.argmax(-1) == y).double()
        sums = torch.zeros(2, n, dtype=torch.float64, device=logits.device)
        sums[0].index_add_(0, groups, right)
        sums[1].index_add_(0, groups, torch.ones_like(right))
        return summarise_rate(sums[0].tolist(), sums[1].tolist())
    rng = np.random.default_rng(0)
    rows = [torch.nonzero(groups == k)[:, 0] for k in range(n)]
    drawn = []
    for _ in range(DRAWS):
        pick = torch.cat([rows[k] for k in rng.integers(0, n, n)])
        drawn.append(mean_average_precision(logits[pick], y[pick]))
    return summarise_drawn(mean_average_precision(logits, y), drawn, n)
