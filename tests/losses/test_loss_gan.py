"""Adversarial and feature-matching losses against their formulas, on maps of unequal sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiokd.losses.adversarial import discriminator_loss, generator_loss
from audiokd.losses.feature_matching import feature_matching_loss


@pytest.fixture
def maps() -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    torch.manual_seed(0)
    sizes = [[(2, 3, 5), (2, 4), (2, 1, 7)], [(2, 9), (2, 3)]]

    def make() -> list[list[Tensor]]:
        return [[torch.randn(s, requires_grad=True) for s in d] for d in sizes]

    return make(), make()


def test_adversarial(maps) -> None:
    fake, real = maps
    d = sum((f[-1] ** 2).sum() / f[-1].numel() + ((r[-1] - 1) ** 2).sum() / r[-1].numel() for f, r in zip(fake, real))
    g = sum(((f[-1] - 1) ** 2).sum() / f[-1].numel() for f in fake)
    torch.testing.assert_close(discriminator_loss(fake, real), d)
    torch.testing.assert_close(generator_loss(fake), g)
    ones, zeros = ([[torch.full((2, 3), v)]] for v in (1.0, 0.0))
    assert discriminator_loss(zeros, ones) == 0  # what the discriminator wants
    assert discriminator_loss(ones, zeros) == 2
    assert generator_loss(ones) == 0  # what the generator wants
    assert generator_loss(zeros) == 1


def test_feature_matching(maps) -> None:
    fake, real = maps
    want = sum((f - r).abs().mean() for fs, rs in zip(fake, real) for f, r in list(zip(fs, rs))[:-1])
    loss = feature_matching_loss(fake, real)
    torch.testing.assert_close(loss, want)  # a sum over layers, not their mean
    loss.backward()
    assert all(m.grad is None for d in real for m in d)
    assert all(m.grad.abs().max() > 0 for d in fake for m in d[:-1])
    assert all(d[-1].grad is None for d in fake)  # logits play no part
    assert feature_matching_loss(real, real) == 0
