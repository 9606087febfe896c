"""MARBLE's probe: its layer is found, its scores are mir_eval's and scikit-learn's, and it never looks at the test set."""

from __future__ import annotations

import itertools

import mir_eval.key
import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score

from audiokd.errors import AudiokdError
from audiokd.eval.key_score import key_score, read_key
from audiokd.eval.linear_probe import ProbeSet
from audiokd.eval.mlp_probe import mlp_probe
from audiokd.eval.r2 import r2
from audiokd.eval.roc_auc import mean_roc_auc

NOTES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]


def layered(y: torch.Tensor, layer: int, layers: int = 4, seed: int = 0) -> torch.Tensor:
    """Features of which one layer knows `y`: its sign decides a product of two inputs, which no linear probe sees."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(len(y), layers, 6, generator=rng)
    s = torch.sign(x[:, layer, 0])
    x[:, layer, 1] = (0.5 + x[:, layer, 1].abs()) * s * (2 * y.float() - 1)
    return 100 * x.flatten(1)


def sets(task: str, layer: int = 2) -> list[ProbeSet]:
    found = []
    for seed, n in ((1, 600), (2, 150), (3, 200)):
        y = torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(seed))
        x = layered(y, layer, seed=seed + 10)
        if task == "tags":
            y = torch.stack([y, 1 - y], 1)
        if task == "regression":
            y = torch.stack([2.0 * y - 1, 10 + 5.0 * y], 1)
        found.append(ProbeSet(x, y))
    return found


@pytest.mark.parametrize(
    ("task", "names", "metric"),
    [
        ("class", ["a", "b"], "accuracy"),
        ("tags", ["a", "b"], "mAP"),
        ("regression", ["v", "w"], "R2"),
        ("key", ["C", "F#"], "key score"),
    ],
)
def test_it_finds_the_layer_and_what_no_line_can(task: str, names: list[str], metric: str) -> None:
    found = mlp_probe(*sets(task), names, task, layers=4, epochs=40)
    assert found.metric == metric
    assert found.chosen_layer == 3
    assert len(found.dev) == 4
    assert found.dev[2] == max(found.dev)
    assert found.test.mean > (0.6 if task == "regression" else 0.9)
    assert found.test.low <= found.test.mean <= found.test.high
    again = mlp_probe(*sets(task), names, task, layers=4, epochs=40)
    assert again.as_dict() == found.as_dict()
    expected = {"class": set(), "tags": {"ROC-AUC"}, "regression": {"R2 v", "R2 w"}, "key": {"accuracy"}}[task]
    assert set(found.more) == expected


def test_the_test_set_decides_nothing() -> None:
    train, dev, test = sets("class")
    a = mlp_probe(train, dev, test, ["a", "b"], layers=4, epochs=10)
    b = mlp_probe(train, dev, ProbeSet(test.x.roll(1, 0), 1 - test.y), ["a", "b"], layers=4, epochs=10)
    assert (a.dev, a.chosen_layer, a.epochs) == (b.dev, b.chosen_layer, b.epochs)
    assert a.test.mean != b.test.mean


def test_a_dev_set_that_tells_nothing() -> None:
    train, dev, test = sets("regression")
    alike = ProbeSet(dev.x, torch.ones_like(dev.y))
    with pytest.raises(AudiokdError, match=r"no layer has a R2 on dev: its \d+ rows are all alike"):
        mlp_probe(train, alike, test, ["v", "w"], "regression", layers=4, epochs=2)


def test_training_ends_when_nothing_is_gained() -> None:
    train, dev, test = sets("class")
    noise = ProbeSet(torch.randn(600, 6), train.y)
    found = mlp_probe(noise, ProbeSet(torch.randn(150, 6), dev.y), ProbeSet(torch.randn(200, 6), test.y), ["a", "b"])
    assert 20 < found.epochs < 100
    assert found.test.low < 0.5 < found.test.high


def test_keys_are_scored_as_mir_eval_scores_them() -> None:
    names = [f"{n} {m}" for n in NOTES for m in ("major", "minor")]
    for a, b in itertools.product(names, names):
        assert key_score(read_key(a), read_key(b)) == pytest.approx(mir_eval.key.weighted_score(a, b)), (a, b)


def test_names_of_keys() -> None:
    assert [read_key(n) for n in ("C", "c", "Am", "F#:maj", "Bb minor", "e♭_min", "B")] == [
        (0, True), (0, False), (9, False), (6, True), (10, False), (3, False), (11, True)]  # fmt: skip
    for name in ("", "H", "C dur", "X major"):
        with pytest.raises(AudiokdError, match="is no key"):
            read_key(name)


def test_scores_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    found = r2(torch.from_numpy(p), torch.from_numpy(y))
    np.testing.assert_allclose(found.numpy(), r2_score(y, p, multioutput="raw_values"))
    tags = (rng.random((80, 4)) < 0.3).astype(int)
    said = rng.integers(0, 6, (80, 4)).astype(float)  # many ties
    assert mean_roc_auc(torch.from_numpy(said), torch.from_numpy(tags)) == pytest.approx(roc_auc_score(tags, said))
    tags[:, 1] = 0
    without = np.delete(said, 1, 1), np.delete(tags, 1, 1)
    expected = roc_auc_score(without[1], without[0])
    assert mean_roc_auc(torch.from_numpy(said), torch.from_numpy(tags)) == pytest.approx(expected)
    assert np.isnan(mean_roc_auc(torch.zeros(3, 1), torch.ones(3, 1)))
    assert torch.isnan(r2(torch.zeros(3, 1), torch.ones(3, 1))).all()


def test_what_is_refused() -> None:
    train, dev, test = sets("class")
    with pytest.raises(AudiokdError, match="are not 5 layers'"):
        mlp_probe(train, dev, test, ["a", "b"], layers=5)
    train.x[3, 3] = float("nan")
    with pytest.raises(AudiokdError, match="train features hold NaN or Inf, row 3 first"):
        mlp_probe(train, dev, test, ["a", "b"], layers=4)
