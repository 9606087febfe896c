"""Drawing rare labels as often as common ones."""

from __future__ import annotations

from collections import Counter

import numpy as np

from audiokd.data.balance import balance_weights
from audiokd.data.crops import StepSampler

LABELS = [("speech",)] * 90 + [("dog",)] * 9 + [("speech", "bell")]


def test_weights() -> None:
    w = balance_weights(LABELS)
    assert np.isclose(w.sum(), 1)
    np.testing.assert_allclose(w[90] / w[0], 91 / 9)
    np.testing.assert_allclose(w[99] / w[0], 1 + 91)
    np.testing.assert_allclose(balance_weights([("a", "a"), ("b",), ()]), [1 / 3, 1 / 3, 1 / 3])


def test_rare_labels_are_drawn_as_often() -> None:
    draws = [i for batch in StepSampler(100, 10, 0, 1000, 0, weights=balance_weights(LABELS)) for _, i in batch]
    seen = Counter(name for i in draws for name in LABELS[i])
    expected = {"speech": (90 / 91 + 1 + 1 / 91) / 3, "dog": 1 / 3, "bell": (1 + 1 / 91) / 3}
    for name, share in expected.items():
        assert abs(seen[name] / len(draws) - share) < 0.02, name


def test_any_step_and_any_rank_draw_what_one_process_draws_from_the_start() -> None:
    w = balance_weights(LABELS)
    whole = [i for batch in StepSampler(100, 8, 0, 60, 3, weights=w) for _, i in batch]
    late = [i for batch in StepSampler(100, 8, 41, 60, 3, weights=w) for _, i in batch]
    assert late == whole[41 * 8 :]
    ranks = [[b for b in StepSampler(100, 4, 0, 60, 3, r, 2, w)] for r in (0, 1)]
    assert [i for pair in zip(*ranks) for batch in pair for _, i in batch] == whole
    assert [i for b in StepSampler(100, 8, 0, 60, 4, weights=w) for _, i in b] != whole
