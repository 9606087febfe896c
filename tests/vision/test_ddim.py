"""DDIM's closed form against the scheduler's own loop, and against the figures of Stable Diffusion's schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)

from audiokd.errors import AudiokdError
from audiokd.vision.ddim import PREDICTIONS, closed_form, ddim_of, split

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def stable_diffusion(**changes: Any) -> DDIMScheduler:
    return DDIMScheduler(**STABLE_DIFFUSION | {"set_alpha_to_one": False, "clip_sample": False} | changes)


@pytest.mark.parametrize(
    ("steps", "timesteps", "signal", "weights"),
    [
        (4, [751, 501, 251, 1], 4.2346, [-2.4919, -0.9249, -0.6568, -0.0121]),
        (
            8,
            [876, 751, 626, 501, 376, 251, 126, 1],
            7.4362,
            [-3.2538, -1.6051, -0.8869, -0.5474, -0.3775, -0.2961, -0.3607, -0.0121],
        ),
        (2, [501, 1], 1.9061, [-1.5817, -0.0121]),
    ],
)
def test_figures_of_stable_diffusion(steps: int, timesteps: list[int], signal: float, weights: list[float]) -> None:
    form = closed_form(stable_diffusion(), steps)
    assert form.timesteps.tolist() == timesteps
    assert form.signal == pytest.approx(signal, abs=6e-5)
    assert form.weights.tolist() == pytest.approx(weights, abs=6e-5)


def test_one_step_is_at_the_end_of_the_schedule() -> None:
    """SwiftBrush: t = 999, x0 = (z - sqrt(1 - a) eps) / sqrt(a) with a = 0.0047."""
    form = closed_form(stable_diffusion(timestep_spacing="trailing", set_alpha_to_one=True), 1)
    assert form.timesteps.tolist() == [999]
    assert form.signal == pytest.approx(1 / 0.0047**0.5, rel=0.01)
    assert form.weights[0] == pytest.approx(-(((1 - 0.0047) / 0.0047) ** 0.5), rel=0.01)
    with pytest.raises(AudiokdError, match=r"one step under leading spacing is at t = 1(.|\n)*trailing"):
        closed_form(stable_diffusion(), 1)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [2, 4, 10])
def test_it_is_the_schedulers_loop(spacing: str, prediction: str, steps: int) -> None:
    scheduler = stable_diffusion(timestep_spacing=spacing, prediction_type=prediction)
    form = closed_form(scheduler, steps)
    torch.manual_seed(0)
    first = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    answers = torch.randn(steps, 3, 2, 4, 4, dtype=torch.float64)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(steps)
    z, noises = first, []
    for t, answer in zip(scheduler.timesteps, answers):
        picture, noise = split(scheduler, answer, z, t.expand(3))
        found = scheduler.step(answer, t, z)
        torch.testing.assert_close(picture, found.pred_original_sample)
        noises.append(noise)
        z = found.prev_sample
    torch.testing.assert_close(form.sample(first, answers), z, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(form.noises(first, answers), torch.stack(noises), rtol=1e-5, atol=1e-5)
    if prediction == "epsilon":
        assert torch.equal(form.noises(first, answers), answers)


@pytest.mark.parametrize("steps", [3, 0, 7, 1001])
def test_steps_that_do_not_divide_the_schedule(steps: int) -> None:
    with pytest.raises(AudiokdError, match=rf"{steps} steps do not divide the schedule of 1000"):
        closed_form(stable_diffusion(timestep_spacing="trailing"), steps)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clip_sample": True}, "clips samples"),
        ({"thresholding": True}, "clips samples"),
        ({"timestep_spacing": "linspace"}, r"timestep_spacing linspace(.|\n)*one of leading, trailing"),
        (
            {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
            "epsilon says nothing of a picture at t = 999",
        ),
    ],
)
def test_what_has_no_closed_form(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AudiokdError, match=said):
        closed_form(stable_diffusion(**changes), 4)
    if "rescale_betas_zero_snr" in changes:
        form = closed_form(stable_diffusion(prediction_type="v_prediction", **changes), 4)
        assert torch.isfinite(torch.tensor([form.signal, *form.weights])).all()


def test_any_ddpm_schedule_will_do() -> None:
    of_pndm = ddim_of(PNDMScheduler(**STABLE_DIFFUSION, set_alpha_to_one=False))
    assert closed_form(of_pndm, 4).signal == pytest.approx(4.2346, abs=6e-5)
    for cls in (DDPMScheduler, EulerDiscreteScheduler):
        found = ddim_of(cls(beta_schedule="scaled_linear", prediction_type="v_prediction"), timestep_spacing="trailing")
        assert found.config.prediction_type == "v_prediction"
        assert closed_form(found, 1).timesteps.tolist() == [999]
    with pytest.raises(AudiokdError, match="FlowMatchEulerDiscreteScheduler cannot be run as DDIM"):
        ddim_of(FlowMatchEulerDiscreteScheduler())
    odd = DDPMScheduler()
    odd.register_to_config(prediction_type="velocity")
    with pytest.raises(AudiokdError, match=r"predicts velocity(.|\n)*epsilon, sample, v_prediction"):
        ddim_of(odd)
