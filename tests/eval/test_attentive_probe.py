"""The attentive probe: what it finds that a mean does not, a grid in one pass, padding, and that test data choose nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiokd.errors import AudiokdError
from audiokd.eval.attentive_probe import AttentiveHead, TokenSet, attentive_probe
from audiokd.eval.knn_probe import knn_probe
from audiokd.eval.linear_probe import ProbeSet, linear_probe

RATES, DECAYS = (1e-2, 1e-6), (0.01, 0.5)


def order_set(n: int, seed: int, tokens: int = 6) -> TokenSet:
    """Whether a token with one mark stands before one with another: their mean is the same."""
    rng = np.random.default_rng(seed)
    x, y = [], []
    for _ in range(n):
        of = 0.3 * rng.normal(size=(tokens, 16)).astype(np.float32)
        of[:, :tokens] += np.eye(tokens, dtype=np.float32)  # where a token stands
        a, b = rng.permutation(tokens)[:2]
        of[a, 8] += 3
        of[b, 9] += 3
        x.append(of)
        y.append(int(a < b))
    return TokenSet(x, torch.tensor(y))


def last_set(n: int, seed: int) -> TokenSet:
    """Which of four kinds the token is that has the mark; all others, of any kind, have none."""
    rng = np.random.default_rng(seed)
    kinds, marked = rng.integers(0, 4, (n, 6)), rng.integers(0, 6, n)
    x = 0.1 * rng.normal(size=(n, 6, 16)).astype(np.float32)
    x += 2 * np.eye(16, dtype=np.float32)[kinds]
    x[np.arange(n), marked, 8] += 4
    return TokenSet(list(x), torch.from_numpy(kinds[np.arange(n), marked]))


def test_it_finds_one_token_among_others() -> None:
    sets = [last_set(n, k) for k, n in enumerate((300, 100, 100))]
    found = attentive_probe(*sets, 4, rates=(1e-2, 1e-6), decays=(0.01,), blocks=0, epochs=12, batch_size=30)
    assert found.rate == 1e-2
    assert found.dev[0] > found.dev[1]  # a rate that learns nothing
    assert found.grid == [(1e-2, 0.01), (1e-6, 0.01)]
    pooled = [ProbeSet(torch.tensor(np.array([t.mean(0) for t in s.x])), s.y) for s in sets]
    mean = linear_probe(*pooled, 4, epochs=30).test
    assert mean is not None
    assert (found.test.mean or 0) > 0.9 > 0.7 > (mean.mean or 1)


def test_every_head_of_a_grid_is_what_it_is_alone() -> None:
    sets = [order_set(n, k) for k, n in enumerate((80, 40, 40))]
    how = {"blocks": 1, "epochs": 2, "batch_size": 20, "seed": 3}
    grid = attentive_probe(*sets, 2, rates=RATES, decays=DECAYS, **how)  # type: ignore[arg-type]
    assert len(grid.dev) == 4
    for (rate, decay), dev in zip(grid.grid, grid.dev):
        alone = attentive_probe(*sets, 2, rates=(rate,), decays=(decay,), **how)  # type: ignore[arg-type]
        assert alone.dev == [dev]
        if (rate, decay) == (grid.rate, grid.decay):
            assert alone.test == grid.test


def test_a_grid_holds_the_activations_of_one_head() -> None:
    """Of tokens of published sizes those of ten heads would take 200 GB."""
    sets = [order_set(40, k) for k in range(3)]

    def peak(*rates: float) -> int:
        held = most = 0

        class Kept:
            def __init__(self, tensor: torch.Tensor):
                nonlocal held, most
                self.tensor = tensor
                held += tensor.nbytes
                most = max(most, held)

            def __del__(self) -> None:
                nonlocal held
                held -= self.tensor.nbytes

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            attentive_probe(*sets, 2, rates=rates, decays=(0.01,), blocks=1, epochs=1, batch_size=20)
        return most

    assert peak(*[0.01] * 6) < 1.5 * peak(0.01)


def test_the_head_is_chosen_on_dev() -> None:
    train, dev = order_set(80, 0), order_set(40, 1)
    test = order_set(40, 2)
    a = attentive_probe(train, dev, test, 2, rates=RATES, decays=DECAYS, blocks=0, epochs=2)
    wrong = TokenSet(test.x, 1 - test.y)
    b = attentive_probe(train, dev, wrong, 2, rates=RATES, decays=DECAYS, blocks=0, epochs=2)
    assert (a.rate, a.decay, a.dev) == (b.rate, b.decay, b.dev)
    assert a.test.mean == pytest.approx(1 - (b.test.mean or 0))


def test_padding_is_not_heard() -> None:
    head = AttentiveHead(16, 2, 2, 3).eval()
    data = order_set(2, 0)
    data.x = [data.x[0], data.x[1][:4]]
    x, mask = data.batch([0, 1])
    assert mask is not None
    both = head(x, mask)
    alone = head(*data.batch([1]))
    assert data.batch([1])[1] is None
    assert torch.allclose(both[1], alone[0], atol=1e-5)
    x[1, 4:] = 1e3
    assert torch.allclose(head(x, mask), both, atol=1e-5)


def test_tags() -> None:
    sets = []
    for k, n in enumerate((200, 60, 60)):
        of = last_set(n, k)
        there = [[int((x[:, kind] > 1).any()) for kind in range(2)] for x in of.x]
        sets.append(TokenSet(of.x, torch.tensor(there)))
    found = attentive_probe(*sets, 2, "tags", rates=(1e-2,), decays=(0.01,), blocks=0, epochs=10, batch_size=25)
    assert found.metric == "mAP"
    assert (found.test.mean or 0) > 0.95


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s.x.clear(), "tokens of 0 items"),
        (lambda s: s.x.__setitem__(3, np.full((2, 16), np.nan, np.float32)), "NaN or Inf, item 3"),
        (lambda s: s.x.__setitem__(3, np.zeros((2, 8), np.float32)), "the first has 16"),
    ],
)
def test_tokens_that_cannot_be_probed(spoil: object, said: str) -> None:
    train, dev = order_set(20, 0), order_set(10, 1)
    spoil(train)  # type: ignore[operator]
    with pytest.raises(AudiokdError, match=said):
        attentive_probe(train, dev, dev, 2)


def test_neighbours_choose_their_number_on_dev() -> None:
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 12, generator=g)

    def rows(n: int, wrong: float = 0.0) -> ProbeSet:
        y = torch.randint(4, (n,), generator=g)
        x = centres[y] + 0.3 * torch.randn(n, 12, generator=g)
        flip = torch.rand(n, generator=g) < wrong
        return ProbeSet(x + 7, torch.where(flip, torch.randint(4, (n,), generator=g), y))

    found = knn_probe(rows(300, wrong=0.4), rows(100), rows(100), 4)
    assert found.rate > 1  # one neighbour of a noisy set is wrong as often as its label is
    assert (found.test.mean or 0) > 0.9  # type: ignore[union-attr]
    assert knn_probe(rows(8), rows(5), rows(5), 4).rates == [1, 5]
