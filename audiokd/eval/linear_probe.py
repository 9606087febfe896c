"""Linear probe of frozen features: batch norm without weights, then one linear layer, for a grid of learning rates at once.

As ATST's official downstream code trains it (audiossl, atstframe/downstream/train_freeze.py): SGD with momentum 0.9, no weight
decay, a half cosine to 0 over 100 epochs. The rate is chosen on the validation set; the test set is looked at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.eval.classification import Task, metric_of, score, score_summary
from audiokd.eval.table import Summary

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
MOMENTUM = 0.9


@dataclass
class ProbeSet:
    """Rows of a split.

    Attributes:
        x: features [N, D] float32.
        y: classes [N] int64, or tags [N, C] of 0 and 1.
        groups: utterance of each row [N], which the bootstrap draws as a whole; each row its own if left out.
    """

    x: Tensor
    y: Tensor
    groups: Tensor | None = None


@dataclass
class ProbeResult:
    """What a probe found.

    Attributes:
        metric: accuracy, or mAP (the mean over tags of average precision).
        rates: learning rates of the grid.
        dev: their validation scores.
        rate: the chosen one.
        test: its test score with a bootstrap interval over utterances; None without a test set.
        chance: accuracy of always saying the commonest training class; mean share of positives for tags.
    """

    metric: str
    rates: list[float]
    dev: list[float]
    rate: float
    test: Summary | None
    chance: float

    def as_dict(self) -> dict[str, Any]:
        test = self.test.as_dict() if self.test else None
        return {
            "metric": self.metric, "test": test, "chance": self.chance,
            "rate": self.rate, "rates": self.rates, "dev": self.dev,
        }  # fmt: skip


def linear_probe(
    train: ProbeSet,
    dev: ProbeSet,
    test: ProbeSet | None,
    classes: int,
    task: Task = "class",
    rates: Sequence[float] = RATES,
    epochs: int = 100,
    batch_size: int = 256,
    seed: int = 0,
) -> ProbeResult:
    """Train one probe a learning rate, all in one pass over the data, and score the one that is best on `dev`.

    Args:
        train, dev, test: features and labels.
        classes: how many.
        task: class, one of them each (cross-entropy, accuracy); tags, any number (binary cross-entropy, mAP).
        rates: learning rates that are tried.
        epochs: passes over `train`.
        batch_size: rows a step.
        seed: of the first weights and of the order.

    Raises:
        AudiokdError: under two training rows, features of different sizes, or NaN among them.
    """
    check_sets(train, dev, test)
    g = torch.Generator().manual_seed(seed)
    n, dim = train.x.shape
    heads = len(rates)
    weight = (0.01 * torch.randn(heads, dim, classes, generator=g)).to(train.x.device).requires_grad_(True)
    bias = torch.zeros(heads, classes, device=train.x.device, requires_grad=True)
    mean, var = train.x.new_zeros(dim), train.x.new_ones(dim)
    moving = [torch.zeros_like(weight), torch.zeros_like(bias)]
    peak = torch.tensor(rates, device=train.x.device)
    for epoch in range(epochs):
        scale = peak * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        order = torch.randperm(n, generator=g).to(train.x.device)
        for rows in order.split(batch_size):
            if len(rows) < 2:  # one row has no variance
                continue
            x = F.batch_norm(train.x[rows], mean, var, training=True)
            logits = torch.einsum("nd,gdc->gnc", x, weight) + bias[:, None]
            loss = _loss(logits, train.y[rows], task)
            gradients = torch.autograd.grad(loss.sum(), (weight, bias))
            with torch.no_grad():  # a head's steps are those of torch's SGD at its own rate
                for p, v, grad in zip((weight, bias), moving, gradients):
                    v.mul_(MOMENTUM).add_(grad)
                    p -= scale.view(-1, *[1] * (p.ndim - 1)) * v

    @torch.no_grad()
    def logits_of(data: ProbeSet, head: Tensor, b: Tensor) -> Tensor:
        return torch.cat([F.batch_norm(x, mean, var) @ head + b for x in data.x.split(8192)])

    scores = [score(logits_of(dev, w, b), dev.y, task) for w, b in zip(weight, bias)]
    best = int(np.nanargmax(scores)) if np.isfinite(scores).any() else 0
    found = None
    if test is not None:
        found = score_summary(logits_of(test, weight[best], bias[best]), test.y, task, test.groups)
    return ProbeResult(metric_of(task), list(rates), scores, rates[best], found, chance_of(train, test or dev, task))


def cross_probe(
    data: ProbeSet,
    folds: Tensor,
    classes: int,
    task: Task = "class",
    rates: Sequence[float] = RATES,
    epochs: int = 100,
    batch_size: int = 256,
    seed: int = 0,
) -> list[ProbeResult]:
    """A probe a fold, as sets without splits are scored: tested on it, its rate chosen on the next one, trained on the others.

    Args:
        data: all rows.
        folds: fold of each row [N]; at least three.
        classes, task, rates, epochs, batch_size, seed: as `linear_probe`.

    Raises:
        AudiokdError: under three folds, or what `linear_probe` refuses.
    """
    names = folds.unique().tolist()
    if len(names) < 3:
        raise AudiokdError(
            f"{len(names)} folds: one is tested, one chooses, and the others train", fix="give at least three"
        )

    def part(rows: Tensor) -> ProbeSet:
        return ProbeSet(data.x[rows], data.y[rows], None if data.groups is None else data.groups[rows])

    found = []
    for k, fold in enumerate(names):
        chooses = names[(k + 1) % len(names)]
        dev, test = folds == chooses, folds == fold
        sets = part(~dev & ~test), part(dev), part(test)
        found.append(linear_probe(*sets, classes, task, rates, epochs, batch_size, seed))
    return found


def _loss(logits: Tensor, y: Tensor, task: Task) -> Tensor:
    """Mean over rows (and tags) for each head: [G]."""
    if task == "tags":
        return F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype).expand_as(logits), reduction="none").mean(
            (1, 2)
        )
    flat = F.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)), reduction="none")
    return flat.view(len(logits), -1).mean(1)


def chance_of(train: ProbeSet, scored: ProbeSet, task: Task) -> float:
    """The score of always saying the commonest label of `train`, or the share of tags of `scored` that are there."""
    if task == "tags":
        return float(scored.y.double().mean())
    return float((scored.y == train.y.mode().values).double().mean())


def check_sets(train: ProbeSet, dev: ProbeSet, test: ProbeSet | None) -> None:
    """That features can be probed.

    Raises:
        AudiokdError: under two training rows, features of different sizes, NaN among them, or no label for each.
    """
    if len(train.x) < 2:
        raise AudiokdError(f"{len(train.x)} training rows: a probe needs two")
    for name, data in (("train", train), ("dev", dev), ("test", test)):
        if data is None:
            continue
        if data.x.shape[1:] != train.x.shape[1:]:
            raise AudiokdError(f"{name} features of size {list(data.x.shape[1:])}, train {list(train.x.shape[1:])}")
        if not bool(data.x.isfinite().all()):
            bad = int((~data.x.isfinite()).any(1).nonzero()[0])
            raise AudiokdError(f"{name} features hold NaN or Inf, row {bad} first")
        if len(data.x) != len(data.y) or not len(data.x):
            raise AudiokdError(f"{name} has {len(data.x)} rows of features and {len(data.y)} labels")
