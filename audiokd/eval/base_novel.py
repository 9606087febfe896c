"""Accuracy of base and of novel classes and their harmonic mean; accuracy by domain.

A picture of a base class is told among the base classes alone, one of a novel class among the novel ones; H = 2 B N / (B + N).
Source: CoCoOp (Zhou et al., arXiv 2203.05557), after Xian et al. (arXiv 1707.00600), and PromptKD (arXiv 2403.02781).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from audiokd.data.draws import base_novel
from audiokd.errors import AudiokdError
from audiokd.eval.wilson import wilson


def base_novel_scores(logits: Tensor, y: Tensor, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Scores of `base`, `novel` and `harmonic_mean`.

    Args:
        logits: [N, C].
        y: classes [N].
        names: of the C classes; the first half of them are base (`audiokd.data.draws.base_novel`).

    Returns:
        Of base and novel accuracy, low and high (Wilson's 95 % interval), items, classes (how many there are to tell apart) and
        classes_seen (that have an item). Of the harmonic mean value, low and high: what it is at the lower and at the upper ends of
        both sides' intervals, these of sqrt(0.95) each, so that both hold at once in 95 %: it grows with either.

    Raises:
        AudiokdError: under two classes, or no item of base or of novel ones.
    """
    sides = dict(zip(("base", "novel"), base_novel(names)))
    found, ends, start = {}, [], 0
    for side, of in sides.items():
        rows = (y >= start) & (y < start + len(of))
        n = int(rows.sum())
        if not n:
            what = f"no item of the {len(of)} {side} classes ({of[0]} to {of[-1]})"
            raise AudiokdError(what, fix="give the data of both, or leave --base_novel out")
        right = int((logits[rows, start : start + len(of)].argmax(-1) + start == y[rows]).sum())
        seen = len(y[rows].unique())
        found[side] = {**_share(right, n), "items": n, "classes": len(of), "classes_seen": seen}
        ends.append(wilson(right, n, math.sqrt(0.95)))
        start += len(of)
    (b_low, b_high), (n_low, n_high) = ends
    means = [_harmonic(found["base"]["accuracy"], found["novel"]["accuracy"])]
    means += [_harmonic(b_low, n_low), _harmonic(b_high, n_high)]
    return {**found, "harmonic_mean": dict(zip(("value", "low", "high"), means))}


def domain_scores(logits: Tensor, y: Tensor, domains: Sequence[str | None]) -> dict[str, Any]:
    """Accuracy of each domain among all classes, and their mean, in which each counts once.

    Args:
        logits: [N, C].
        y: classes [N].
        domains: N; None where it is not known: such rows are left out.

    Returns:
        `domains`, by name: accuracy, low and high (Wilson's 95 % interval), items; and `mean`.
    """
    right = (logits.argmax(-1) == y).tolist()
    of: dict[str, list[bool]] = {}
    for name, is_right in zip(domains, right):
        if name is not None:
            of.setdefault(name, []).append(is_right)
    table = {name: {**_share(sum(rows), len(rows)), "items": len(rows)} for name, rows in sorted(of.items())}
    return {"domains": table, "mean": sum(d["accuracy"] for d in table.values()) / len(table)}


def _share(right: int, n: int) -> dict[str, float]:
    low, high = wilson(right, n)
    return {"accuracy": right / n, "low": low, "high": high}


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
