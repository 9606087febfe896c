"""MARBLE's probe of frozen features (arXiv 2306.10548): one hidden layer, on the layer that does best on the validation set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.eval.classification import score_summary
from audiokd.eval.key_score import key_score, read_key
from audiokd.eval.linear_probe import ProbeSet, check_sets
from audiokd.eval.mlp import train_mlp
from audiokd.eval.r2 import r2
from audiokd.eval.roc_auc import mean_roc_auc
from audiokd.eval.table import Summary, summarise_drawn, summarise_rate
from audiokd.nn.average_precision import mean_average_precision

MLPTask: TypeAlias = Literal["class", "tags", "key", "regression"]
#: of the bootstrap
DRAWS = 200


@dataclass
class MLPProbeResult:
    """What the probes found.

    Attributes:
        metric: accuracy; mAP for tags; MIREX's weighted score for keys; R2, the mean over variables, for regression; the F-measure
            of beats.
        chosen_layer: from 1.
        dev: validation score of each layer.
        test: its test score with a 95% bootstrap interval over utterances.
        more: other scores of the test set by name, such as ROC-AUC for tags, each variable's R2.
        epochs: that the chosen probe was trained.
    """

    metric: str
    chosen_layer: int
    dev: list[float]
    test: Summary
    more: dict[str, float] = field(default_factory=dict)
    epochs: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "test": self.test.as_dict()}


def mlp_probe(
    train: ProbeSet,
    dev: ProbeSet,
    test: ProbeSet,
    names: Sequence[str],
    task: MLPTask = "class",
    layers: int = 1,
    lr: float = 1e-3,
    batch_size: int = 64,
    epochs: int = 100,
    seed: int = 0,
) -> MLPProbeResult:
    """Train a probe a layer, and score the one that is best on `dev` on `test`.

    Args:
        train, dev, test: features [N, layers D], one layer's after another's, and classes [N], tags or values [N, C].
        names: of classes, tags or variables; of keys such as `read_key` reads.
        task: class, tags, key or regression.
        layers: that the features are of.
        lr: Adam's first rate.
        batch_size: rows a step.
        epochs: at most.
        seed: of the first weights, dropout and the order.

    Raises:
        AudiokdError: under two training rows, features of different sizes or that do not split into layers, NaN among them, or a
            dev set that gives no layer a score.
    """
    check_sets(train, dev, test)
    if train.x.shape[1] % layers:
        raise AudiokdError(f"features of size {train.x.shape[1]} are not {layers} layers'")
    if task == "regression":  # R2 does not care, training does
        train, dev, test = _standardised(train, dev, test)
    score, loss = _score_of(task, names), _loss_of(task)
    found: list[tuple[float, int, Tensor]] = []
    for k in range(layers):
        of = slice(k * train.x.shape[1] // layers, (k + 1) * train.x.shape[1] // layers)
        x, x_dev, x_test = (d.x[:, of] for d in (train, dev, test))
        mlp = train_mlp(x, train.y, x_dev, dev.y, len(names), loss, score, lr, batch_size, epochs, seed)
        found.append((mlp.dev, mlp.epochs, mlp(x_test)))
    scores = [s for s, _, _ in found]
    if not np.isfinite(scores).any():
        what = f"no layer has a {METRICS[task]} on dev: its {len(dev.x)} rows are all alike"
        raise AudiokdError(what, fix="a dev set with several labels, or values that differ")
    best = int(np.nanargmax(scores))
    _, used, out = found[best]
    summary = _summary(out, test, task, names)
    return MLPProbeResult(METRICS[task], best + 1, scores, summary, _more(out, test.y, task, names), used)


def _standardised(train: ProbeSet, *others: ProbeSet) -> tuple[ProbeSet, ...]:
    """The sets with values of mean 0 and variance 1 over the training set."""
    mean, std = train.y.float().mean(0), train.y.float().std(0).clamp(min=1e-12)
    return tuple(ProbeSet(d.x, (d.y.float() - mean) / std, d.groups) for d in (train, *others))


METRICS: dict[MLPTask, str] = {"class": "accuracy", "tags": "mAP", "key": "key score", "regression": "R2"}


def _loss_of(task: MLPTask) -> Callable[[Tensor, Tensor], Tensor]:
    if task == "tags":
        return lambda out, y: F.binary_cross_entropy_with_logits(out, y.to(out.dtype))
    return (lambda out, y: F.mse_loss(out, y.to(out.dtype))) if task == "regression" else F.cross_entropy


def _score_of(task: MLPTask, names: Sequence[str]) -> Callable[[Tensor, Tensor], float]:
    if task == "class":
        return lambda out, y: float((out.argmax(-1) == y).double().mean())
    if task == "tags":
        return mean_average_precision
    if task == "regression":
        return lambda out, y: float(r2(out, y).nanmean())
    weights = _key_weights(names)
    return lambda out, y: float(weights[y.cpu(), out.argmax(-1).cpu()].mean())


def _key_weights(names: Sequence[str]) -> Tensor:
    """What each estimate is worth for each reference, [C, C] float64."""
    keys = [read_key(n) for n in names]
    return torch.tensor([[key_score(a, b) for b in keys] for a in keys], dtype=torch.float64)


def _summary(out: Tensor, test: ProbeSet, task: MLPTask, names: Sequence[str]) -> Summary:
    """The test score with its interval: a mean over rows, of classes and keys, or what a bootstrap draws of the others."""
    groups = torch.arange(len(out)) if test.groups is None else test.groups.cpu()
    if task in ("class", "tags"):
        return score_summary(out, test.y, task, groups.to(out.device))
    groups = groups.unique(return_inverse=True)[1]
    n = int(groups.max()) + 1
    if task == "key":
        sums = torch.zeros(2, n, dtype=torch.float64)
        worth = _key_weights(names)[test.y.cpu(), out.argmax(-1).cpu()]
        sums[0].index_add_(0, groups, worth)
        sums[1].index_add_(0, groups, torch.ones_like(worth))
        return summarise_rate(sums[0].tolist(), sums[1].tolist())
    rows = [torch.nonzero(groups == k)[:, 0] for k in range(n)]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        pick = torch.cat([rows[k] for k in rng.integers(0, n, n)]).to(out.device)
        drawn.append(float(r2(out[pick], test.y[pick]).nanmean()))
    return summarise_drawn(float(r2(out, test.y).nanmean()), drawn, n)


def _more(out: Tensor, y: Tensor, task: MLPTask, names: Sequence[str]) -> dict[str, float]:
    if task == "tags":
        return {"ROC-AUC": mean_roc_auc(out, y)}
    if task == "key":
        return {"accuracy": float((out.argmax(-1) == y).double().mean())}
    if task == "regression":
        return {f"R2 {name}": float(v) for name, v in zip(names, r2(out, y))}
    return {}
