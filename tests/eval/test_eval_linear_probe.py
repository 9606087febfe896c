"""The linear probe: separate optimisers' steps, scikit-learn's scores, and real features that tell speakers apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.eval.linear_probe import ProbeSet, linear_probe
from audiokd.nn.average_precision import mean_average_precision


def blobs(n: int, classes: int = 4, dim: int = 12, seed: int = 0, spread: float = 1.0) -> ProbeSet:
    g = torch.Generator().manual_seed(99)
    centres = 2.0 * torch.randn(classes, dim, generator=g)
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    return ProbeSet(centres[y] + spread * torch.randn(n, dim, generator=g), y)


def test_all_rates_at_once_equal_one_by_one() -> None:
    train, dev = blobs(150), blobs(80, seed=1)
    rates = [0.001, 0.03, 0.3]
    together = linear_probe(train, dev, None, 4, rates=rates, epochs=12, batch_size=32)
    for i, rate in enumerate(rates):
        # torch's own module and optimiser, from the weights and in the order that the grid draws
        g = torch.Generator().manual_seed(0)
        weights = 0.01 * torch.randn(3, 12, 4, generator=g)
        norm, linear = nn.BatchNorm1d(12, affine=False), nn.Linear(12, 4)
        with torch.no_grad():
            linear.weight.copy_(weights[i].T)
            linear.bias.zero_()
        optimizer = torch.optim.SGD(linear.parameters(), lr=rate, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
        for _ in range(12):
            for rows in torch.randperm(150, generator=g).split(32):
                loss = nn.functional.cross_entropy(linear(norm(train.x[rows])), train.y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
        norm.eval()
        right = (linear(norm(dev.x)).argmax(-1) == dev.y).float().mean()
        assert together.dev[i] == pytest.approx(float(right), abs=1e-6)


def test_it_finds_what_is_there_and_says_what_chance_is() -> None:
    train, dev, test = blobs(400), blobs(200, seed=1), blobs(300, seed=2)
    found = linear_probe(train, dev, test, 4, epochs=30)
    assert found.metric == "accuracy"
    assert found.test is not None
    assert found.test.mean is not None and found.test.mean > 0.95  # noqa: PT018
    assert found.rate == found.rates[int(np.argmax(found.dev))]
    assert 0.15 < found.chance < 0.4
    lost = linear_probe(*(ProbeSet(torch.randn(len(s.x), 12), s.y) for s in (train, dev, test)), 4, epochs=30)
    assert lost.test is not None
    assert lost.test.mean is not None and lost.test.mean < 0.4  # noqa: PT018


def test_the_test_set_chooses_nothing() -> None:
    train, dev = blobs(200), blobs(100, seed=1)
    a = linear_probe(train, dev, blobs(50, seed=2), 4, epochs=5)
    b = linear_probe(train, dev, blobs(50, seed=3, spread=9.0), 4, epochs=5)
    assert (a.rate, a.dev) == (b.rate, b.dev)


def test_rows_of_an_utterance_are_drawn_together() -> None:
    """Ten frames an utterance, all of one class: the interval is that of utterances, not of frames."""
    train, dev, test = blobs(400, spread=4.0), blobs(200, seed=1, spread=4.0), blobs(60, seed=2, spread=4.0)
    many = ProbeSet(
        test.x.repeat_interleave(10, 0), test.y.repeat_interleave(10), torch.arange(60).repeat_interleave(10)
    )
    a, b = (linear_probe(train, dev, t, 4, epochs=5).test for t in (test, many))
    assert a == b
    assert a is not None
    assert a.n == 60


def test_mean_average_precision_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    tags = (rng.random((80, 6)) < 0.2).astype(int)
    tags[:, 5] = 0  # a tag that no row has
    scores = rng.standard_normal((80, 6)) + tags
    expected = np.mean([average_precision_score(tags[:, k], scores[:, k]) for k in range(5)])
    assert mean_average_precision(torch.from_numpy(scores), torch.from_numpy(tags)) == pytest.approx(expected, abs=1e-9)


def test_tags() -> None:
    def data(n: int, seed: int) -> ProbeSet:
        g = torch.Generator().manual_seed(seed)
        y = (torch.rand(n, 5, generator=g) < 0.3).long()
        return ProbeSet(y.float() @ torch.eye(5, 16) + 0.3 * torch.randn(n, 16, generator=g), y)

    found = linear_probe(data(300, 0), data(100, 1), data(100, 2), 5, "tags", epochs=30)
    assert found.metric == "mAP"
    assert found.test is not None
    assert found.test.mean is not None and found.test.mean > 0.9  # noqa: PT018
    assert found.test.low is not None and found.test.low < found.test.mean  # noqa: PT018
    assert found.chance == pytest.approx(0.3, abs=0.06)


def test_what_a_probe_refuses() -> None:
    good, x = blobs(50), torch.zeros(10, 12)
    bad: list[tuple[Tensor, str]] = [
        (torch.full((10, 12), math.nan), "NaN or Inf, row 0"),
        (torch.zeros(10, 3), r"size \[3\]"),
    ]
    for features, what in bad:
        with pytest.raises(AudiokdError, match=what):
            linear_probe(good, ProbeSet(features, torch.zeros(10, dtype=torch.long)), None, 4)
    with pytest.raises(AudiokdError, match="1 training rows"):
        linear_probe(ProbeSet(x[:1], torch.zeros(1, dtype=torch.long)), good, None, 4)
    with pytest.raises(AudiokdError, match="10 rows of features and 9 labels"):
        linear_probe(good, ProbeSet(x, torch.zeros(9, dtype=torch.long)), None, 4)
