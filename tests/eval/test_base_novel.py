"""Base and novel classes, domains and Wilson's interval against numbers that a hand can count."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest

from audiokd.errors import AudiokdError
from audiokd.eval.base_novel import base_novel_scores, domain_scores
from audiokd.eval.wilson import wilson

NAMES = ["a", "b", "c", "d", "e"]  # a, b, c are base
Y = torch.tensor([0, 0, 1, 2, 3, 3, 4])
LOGITS = torch.tensor(
    [
        [3.0, 1, 2, 9, 0],  # d over all, a among base: right
        [1.0, 2, 0, 0, 0],  # b: wrong
        [0.0, 2, 1, 0, 5],  # e over all, b among base: right
        [0.0, 0, 4, 0, 0],  # right
        [9.0, 9, 9, 2, 1],  # a over all, d among novel: right
        [0.0, 0, 0, 1, 2],  # e: wrong
        [0.0, 0, 0, 2, 1],  # d: wrong
    ]
)


def test_by_hand() -> None:
    """3 of 4 base, 1 of 3 novel; over all classes 1 of 7 would be right."""
    found = base_novel_scores(LOGITS, Y, NAMES)
    assert float((LOGITS.argmax(-1) == Y).float().mean()) == pytest.approx(1 / 7)
    base, novel, mean = (found[k] for k in ("base", "novel", "harmonic_mean"))
    assert (base["accuracy"], base["items"], base["classes"], base["classes_seen"]) == (0.75, 4, 3, 3)
    assert (novel["accuracy"], novel["items"], novel["classes"], novel["classes_seen"]) == (1 / 3, 3, 2, 2)
    assert mean["value"] == pytest.approx(2 * 0.75 / 3 / (0.75 + 1 / 3))  # 6 / 13
    assert mean["value"] == pytest.approx(6 / 13)
    # z = 1.959964 by hand: centre (3 + 1.920729) / 7.841459, half width z / 7.841459 * sqrt(3 / 4 + 0.960365)
    assert (base["low"], base["high"]) == pytest.approx((0.300642, 0.954413), abs=1e-5)
    assert mean["low"] < 2 * base["low"] * novel["low"] / (base["low"] + novel["low"]) < mean["value"] < mean["high"]


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 12), (5, 5), (3, 4), (171, 300), (49_999, 50_000)])
@pytest.mark.parametrize("level", [0.95, math.sqrt(0.95)])
def test_wilson_is_scipys(right: int, n: int, level: float) -> None:
    want = binomtest(right, n).proportion_ci(level, method="wilson")
    assert wilson(right, n, level) == pytest.approx((want.low, want.high), abs=1e-9)


def test_nothing_right() -> None:
    found = base_novel_scores(torch.tensor([[0.0, 1, 9, 0], [9, 0, 0, 1]]), torch.tensor([0, 2]), list("abcd"))
    assert (found["base"]["accuracy"], found["novel"]["accuracy"], found["harmonic_mean"]["value"]) == (0.0, 0.0, 0.0)


def test_a_side_without_items() -> None:
    with pytest.raises(AudiokdError, match=r"no item of the 2 novel classes \(d to e\)"):
        base_novel_scores(LOGITS[:4], Y[:4], NAMES)
    with pytest.raises(AudiokdError, match="1 classes are not enough"):
        base_novel_scores(LOGITS[:1, :1], Y[:1], NAMES[:1])


def test_domains() -> None:
    """Each counts once in the mean, however many items it has; an item of none is left out."""
    found = domain_scores(LOGITS, Y, ["photo", "photo", "photo", "sketch", "photo", None, "photo"])
    assert {k: (d["accuracy"], d["items"]) for k, d in found["domains"].items()} == {"photo": (0, 5), "sketch": (1, 1)}
    assert found["mean"] == 0.5
    assert found["domains"]["photo"]["high"] == pytest.approx(wilson(0, 5)[1])
