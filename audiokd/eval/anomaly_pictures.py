"""Scores of whole pictures as normal or not: AUROC, F1 at a threshold that was set on normal pictures, and the greatest F1.

The greatest F1 is over thresholds that are chosen on the test set itself: nobody has that one, so it is called oracle.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audiokd.eval.table import Summary, summarise_drawn

DRAWS = 1000


def auroc(scores: np.ndarray, bad: np.ndarray) -> float:
    """How often a picture of a defect scores above a normal one; equal scores count half. NaN where one kind is not there.

    Args:
        scores: [N], higher is worse.
        bad: bool [N].
    """
    positives, negatives = int(bad.sum()), int((~bad).sum())
    if not positives or not negatives:
        return float("nan")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[bad].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def f1(scores: np.ndarray, bad: np.ndarray, threshold: float) -> float:
    """2 TP / (2 TP + FP + FN) of pictures over `threshold`; NaN where no picture is bad."""
    said = scores > threshold  # the threshold is a score that a normal picture had
    if not bad.any():
        return float("nan")
    return float(2 * (said & bad).sum() / (said.sum() + bad.sum()))


def f1_oracle(scores: np.ndarray, bad: np.ndarray) -> float:
    """The greatest F1 over all thresholds, those that call every picture bad among them."""
    if not bad.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(bad[order])
    values = 2 * right / (np.arange(1, len(scores) + 1) + bad.sum())
    last = np.append(np.diff(scores[order]) != 0, True)  # equal scores are called alike
    return float(values[last].max())


def picture_summaries(
    scores: np.ndarray, bad: np.ndarray, threshold: float | None, seed: int = 0
) -> dict[str, Summary]:
    """`auroc`, `f1` (with a threshold) and `f1_oracle`, with 95% bootstrap intervals over pictures; the two kinds are drawn
    apart."""
    values: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"auroc": auroc, "f1_oracle": f1_oracle}
    if threshold is not None:
        values["f1"] = lambda s, b: f1(s, b, threshold)
    rng = np.random.default_rng(seed)
    of = [np.flatnonzero(~bad), np.flatnonzero(bad)]
    drawn: dict[str, list[float]] = {k: [] for k in values}
    for _ in range(DRAWS if all(map(len, of)) else 0):
        pick = np.concatenate([rng.choice(rows, len(rows)) for rows in of])
        for name, value in values.items():
            drawn[name].append(value(scores[pick], bad[pick]))
    return {k: summarise_drawn(value(scores, bad), drawn[k], len(scores)) for k, value in values.items()}
