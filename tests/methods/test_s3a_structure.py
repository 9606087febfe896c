"""Clusters and their names: votes counted by hand, no name twice, phrases that turn a wrong vote, and K found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.methods.s3a.estimate_k import best_between, cluster, estimate_clusters, silhouette
from audiokd.methods.s3a.phrases import Phrase, Sense, ask, candidates, of_glosses, question, read_answer, realign
from audiokd.methods.s3a.structure import Structure, one_name_each, structure, vote_shares

SENSES = [
    Sense(4, "bank.n.01", "sloping land; beside water"),
    Sense(4, "bank.n.02", "a house for money"),
    Sense(7, "shore.n.01", ""),
]


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, np.ndarray]:
    """Real handwriting, as directions."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return F.normalize(torch.from_numpy(x).float(), dim=-1), y


def test_shares_of_votes() -> None:
    shares = vote_shares(np.array([0, 0, 2, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 3]), 4, 3)
    np.testing.assert_allclose(shares, [[2 / 3, 0, 1 / 3], [0, 0.5, 0.5], [0, 0, 0], [0, 0, 1]], atol=1e-7)


def test_no_two_clusters_have_one_name() -> None:
    """Against every assignment there is."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        shares = rng.random((3, 5))
        best = max(itertools.permutations(range(5), 3), key=lambda p: sum(shares[k, v] for k, v in enumerate(p)))
        assert tuple(one_name_each(shares)) == best
    both = np.array([[0.9, 0.1], [0.8, 0.2]])  # each would have the first
    assert sorted(one_name_each(both)) == [0, 1]
    with pytest.raises(ValueError, match="3 clusters, and a vocabulary of 2 names"):
        one_name_each(np.zeros((3, 2)))


def test_votes_name_clusters_and_mend_them(digits: tuple[Tensor, np.ndarray]) -> None:
    """Names are the classes' means among 200 others; clusters of k-means get the right ones."""
    items, y = digits
    means = F.normalize(torch.stack([items[y == c].mean(0) for c in range(10)]), dim=-1)
    g = torch.Generator().manual_seed(0)
    names = torch.cat([F.normalize(torch.rand(200, 64, generator=g), dim=-1), means])
    clusters = cluster(items.numpy(), 10, starts=2)
    found = structure(items, names, clusters)
    assert sorted(found.names) == list(range(200, 210))
    right = (found.labels - 200 == y).mean()
    by_cluster = (structure(items, names, clusters, rounds=1).names[clusters] - 200 == y).mean()
    assert right > 0.85
    assert right > by_cluster  # what is moved to the nearest name is more often right than its cluster
    np.testing.assert_allclose(found.shares.sum(1), np.ones(10), atol=1e-5)
    again = structure(items, names, clusters)
    assert np.array_equal(again.labels, found.labels)
    with pytest.raises(ValueError, match="0 rounds"):
        structure(items, names, clusters, rounds=0)


def test_how_many_clusters(digits: tuple[Tensor, np.ndarray]) -> None:
    items = digits[0].numpy()[:600]
    assert 8 <= estimate_clusters(items, low=2, high=40) <= 24  # ten digits, some of them written in several ways
    rng = np.random.default_rng(0)
    far = np.repeat(rng.normal(size=(12, 16)), 30, axis=0) + 0.1 * rng.normal(size=(360, 16))
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    assert [estimate_clusters(far, low=2, high=60) for _ in range(2)] == [12, 12]
    asked: list[int] = []

    def score(k: int) -> float:
        asked.append(k)
        return -abs(k - 337)

    assert best_between(50, 2000, score) == 337
    assert len(asked) == len(set(asked)) < 40
    assert best_between(3, 3, lambda k: 0.0) == 3
    assert best_between(50, 53, {50: 0.1, 51: 0.5, 52: 0.4, 53: 0.2}.__getitem__) == 51  # a half as long as the whole
    assert silhouette(items, np.zeros(600, dtype=int)) == -1
    with pytest.raises(ValueError, match="no number of clusters from 50 to 19 for 20 items"):
        estimate_clusters(items[:20])


def test_candidates() -> None:
    shares = np.array([[0.1, 0.5, 0.1, 0.3], [0, 0, 1, 0], [0, 0, 0, 0]])
    assert candidates(shares) == [[1, 3, 0], [2], []]


def test_a_language_model_is_asked() -> None:
    """Three answers; one that lacks a sense is asked for anew. A phrase weighs as often as it came, all senses the same."""
    good = "bank.n.01: mud;  reeds. ; reeds\n- bank.n.02: counter\nshore.n.01: sand; waves"
    answers = iter([good, "bank.n.01: mud", "nothing", good.replace("mud", "grass"), good])
    asked: list[str] = []

    def model(text: str) -> str:
        asked.append(text)
        return next(answers)

    phrases = ask(model, SENSES)
    assert asked == [question(SENSES)] * 5
    assert "bank.n.02: a house for money" in asked[0]
    weights = {(p.name, p.text): p.weight for p in phrases}
    assert weights[4, "reeds"] == pytest.approx(3 / 6 / 3)  # reeds 3, mud 2, grass 1
    assert weights[4, "mud"] == pytest.approx(2 / 6 / 3)
    assert weights[4, "counter"] == pytest.approx(1 / 3)
    assert sum(weights.values()) == pytest.approx(1)
    with pytest.raises(
        AudiokdError, match=r"no answer that can be used, 2 times; the last: .*no phrases for bank.n.01"
    ):
        ask(lambda text: "I cannot", SENSES, attempts=2)
    with pytest.raises(AudiokdError, match=r"no phrases for bank.n.02, shore.n.01"):
        read_answer("bank.n.01: mud\nbank.n.02: ; .", SENSES)


def test_glosses_instead() -> None:
    found = [(p.name, p.text, round(p.weight, 4)) for p in of_glosses(SENSES)]
    assert found == [
        (4, "beside water", 0.1667), (4, "sloping land", 0.1667), (4, "a house for money", 0.3333), (7, "shore.n.01", 0.3333)
    ]  # fmt: skip


def test_phrases_turn_a_wrong_vote() -> None:
    """Items vote for name 0, and choose the phrases of name 1."""
    names = torch.eye(4)
    items = F.normalize(torch.tensor([[0.8, 0.7, 0.1, 0.0], [0.8, 0.7, 0.0, 0.1], [0.0, 0.0, 1.0, 0.0]]), dim=-1)
    found = structure(items, names, np.array([0, 0, 1]))
    assert found.labels.tolist() == [0, 0, 2]
    phrases = [[Phrase(0, "a", 0.5), Phrase(1, "b", 0.25), Phrase(1, "c", 0.25)], [Phrase(2, "d", 1.0)]]
    texts = [torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]]), torch.eye(4)[2:3]]
    turned = realign(items, names, found, phrases, texts, nearest=2)
    assert turned.names.tolist() == [1, 2]
    assert turned.labels.tolist() == [1, 1, 2]
    np.testing.assert_allclose(turned.shares, [[0, 1, 0, 0], [0, 0, 1, 0]], atol=1e-3)
    # where every item would choose every phrase the vote stands
    kept = realign(items, names, found, phrases, texts, nearest=3)
    assert kept.names.tolist() == found.names.tolist()
    np.testing.assert_allclose(kept.shares[0], found.shares[0])
    nothing = realign(items, names, found, [[], phrases[1]], [torch.zeros(0, 4), texts[1]])
    assert isinstance(nothing, Structure)
    assert nothing.names.tolist() == found.names.tolist()  # and where there are none
    with pytest.raises(ValueError, match="cluster 0 has 3 phrases and 1 embeddings"):
        realign(items, names, found, phrases, [texts[1], texts[1]])
