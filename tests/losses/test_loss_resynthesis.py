"""The resynthesis distance: what is averaged, and where the gradient goes."""

from __future__ import annotations

import pytest
import torch

from audiokd.losses.resynthesis import resynthesis_loss


@pytest.mark.parametrize("kind", ["mse", "l1"])
def test_distance(kind: str) -> None:
    torch.manual_seed(0)
    predicted, target = torch.randn(3, 7, 5, requires_grad=True), torch.randn(3, 7, 5, requires_grad=True)
    error = (predicted - target).abs() ** (2 if kind == "mse" else 1)
    torch.testing.assert_close(resynthesis_loss(predicted, target, kind=kind), error.mean())
    lengths = [7, 2, 4]
    want = torch.cat([e[:n] for e, n in zip(error, lengths)]).mean()  # every true frame weighs the same
    loss = resynthesis_loss(predicted, target, torch.tensor(lengths), kind)
    torch.testing.assert_close(loss, want)
    alone = torch.stack(
        [resynthesis_loss(p[None, :n], t[None, :n], None, kind) for p, t, n in zip(predicted, target, lengths)]
    )
    torch.testing.assert_close(loss, (alone * torch.tensor(lengths)).sum() / sum(lengths))
    loss.backward()
    assert target.grad is None
    for g, n in zip(predicted.grad, lengths):
        assert g[:n].abs().min() > 0
        assert not g[n:].any()


def test_full_lengths_are_no_lengths_and_same_is_zero() -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    torch.testing.assert_close(resynthesis_loss(a, b, torch.tensor([3, 3])), resynthesis_loss(a, b))
    assert resynthesis_loss(a, a) == 0
