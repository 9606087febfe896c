"""Objectives of diffusion distillation: the gradients and zeros that their equations say."""

from __future__ import annotations

import pytest
import torch

from audiokd.losses.clip_hinge import clip_hinge
from audiokd.losses.denoising import weighted_noise_error
from audiokd.losses.noise_kl import noise_kl
from audiokd.losses.pseudo_huber import pseudo_huber
from audiokd.losses.variational_score import variational_score


def test_the_gradient_is_the_difference_of_scores() -> None:
    torch.manual_seed(0)
    x, teacher, fake = torch.randn(3, 2, 4, 4, 4, dtype=torch.float64)
    alpha = torch.tensor([0.1, 0.9], dtype=torch.float64)
    x.requires_grad_(True)
    variational_score(x, teacher, fake, alpha).backward()
    g = (1 - alpha).reshape(2, 1, 1, 1) * (teacher - fake)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, g / g.numel())
    value = variational_score(x, teacher, fake, alpha)
    torch.testing.assert_close(value, 0.5 * g.square().mean())
    assert variational_score(x, teacher, teacher, alpha).item() == 0
    teacher[0, 0, 0, 0] = float("nan")
    x.grad = None
    variational_score(x, teacher, fake, alpha).backward()
    assert float(x.grad[0, 0, 0, 0]) == 0  # a number that is none moves nothing


def test_standardised_maps_are_no_distance_away() -> None:
    torch.manual_seed(0)
    maps = torch.randn(5, 4, 8, 8, dtype=torch.float64) * torch.arange(1, 6).reshape(5, 1, 1, 1) + 2
    flat = maps.flatten(1)
    standard = ((flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)).reshape(maps.shape)
    assert float(noise_kl(standard)) == pytest.approx(0, abs=1e-12)
    mean, variance = flat.mean(1), flat.var(1)
    each = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, variance.sqrt()), torch.distributions.Normal(torch.zeros(5).double(), 1.0)
    )
    torch.testing.assert_close(noise_kl(maps), each.mean())
    torch.testing.assert_close(noise_kl(maps.repeat(3, 1, 1, 1)), each.mean())  # a mean over maps
    assert torch.isfinite(noise_kl(torch.zeros(2, 1, 4, 4)))


def test_the_noise_error_weighs_clean_pictures_more() -> None:
    noise = torch.zeros(2, 1, 2, 2)
    found = torch.ones(2, 1, 2, 2)
    assert float(weighted_noise_error(found, noise, torch.tensor([0.25, 0.75]))) == pytest.approx(0.5)
    assert float(weighted_noise_error(found, found, torch.tensor([0.25, 0.75]))) == 0


def test_the_hinge_is_shut_at_tau() -> None:
    a, b = torch.eye(4)[:2], torch.eye(4)[1:3]
    assert float(clip_hinge(a, a, 0.35)) == 0
    assert float(clip_hinge(a, b, 0.35)) == pytest.approx(0.35)
    assert float(clip_hinge(3 * a, torch.stack([a[0], b[1]]), 0.6)) == pytest.approx(0.1)


def test_pseudo_huber_is_a_square_and_then_a_size() -> None:
    zero = torch.zeros(1)
    assert float(pseudo_huber(zero, zero, 0.1)) == 0
    assert float(pseudo_huber(torch.full((1,), 1e-3), zero, 0.1)) == pytest.approx(1e-6 / 0.2, rel=1e-2)
    assert float(pseudo_huber(torch.full((1,), 100.0), zero, 0.1)) == pytest.approx(99.9, rel=1e-4)
    x = torch.randn(4, 3)
    torch.testing.assert_close(
        pseudo_huber(x.repeat(2, 1), torch.zeros(8, 3), 0.1), pseudo_huber(x, torch.zeros(4, 3), 0.1)
    )
