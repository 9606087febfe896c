"""Masked regression: the equation, its gradient, and what normalising does."""

from __future__ import annotations

import pytest
import torch

from audiokd.losses.masked_regression import masked_regression, normalised


@pytest.mark.parametrize("power", [1, 2])
def test_it_is_the_equation(power: int) -> None:
    z, h = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    by_hand = sum(abs(float(a) - float(b)) ** power for a, b in zip(z.flatten(), h.flatten())) / 30 / power
    assert float(masked_regression(z, h, power)) == pytest.approx(by_hand, rel=1e-5)
    assert float(masked_regression(h, h, power)) == 0


def test_the_gradient_of_l1_has_one_size_and_of_l2_that_of_the_difference() -> None:
    z, h = torch.randn(2, 5, 3, requires_grad=True), torch.randn(2, 5, 3)
    (one,) = torch.autograd.grad(masked_regression(z, h, 1), z)
    assert torch.allclose(one, (z - h).sign() / 30)
    (two,) = torch.autograd.grad(masked_regression(z, h, 2), z)
    assert torch.allclose(two, (z - h) / 30, atol=1e-7)


def test_normalised_targets_do_not_depend_on_level_and_size() -> None:
    h = torch.randn(2, 5, 64)
    found = normalised(h)
    assert torch.allclose(found.mean(-1), torch.zeros(2, 5), atol=1e-5)
    assert torch.allclose(found.std(-1, unbiased=False), torch.ones(2, 5), atol=1e-3)
    assert torch.allclose(normalised(7 * h + 3), found, atol=1e-3)
