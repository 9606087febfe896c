"""DDIM without noise in closed form: where the network answers all steps at once, the sample is a weighted sum.

A step of DDIM (arXiv 2010.02502, eta = 0) is linear in the sample and the network's answer, z' = A z + B o. With answers o_1 .. o_T
that do not depend on the samples between (TiUE, arXiv 2505.21960) the last sample is z_0 = S z_T + sum_s E_s o_s, with constants
that the schedule gives; o is the noise, the picture or v (arXiv 2202.00512), as the scheduler's `prediction_type` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from audiokd.errors import AudiokdError

#: where timesteps are total / steps apart, which is how far down a step of diffusers' DDIM goes; linspace's are not
SPACINGS = ("leading", "trailing")
PREDICTIONS = ("epsilon", "sample", "v_prediction")


@dataclass(frozen=True)
class ClosedForm:
    """The constants of a schedule of T steps, float64.

    Attributes:
        timesteps: Long [T], falling.
        signal: S, of the sample that it begins with.
        weights: E [T], of each step's answer.
        steps: A and B [T, 2] of each step.
        noise: [T, 2], what makes the predicted noise of a step's sample and answer.
    """

    timesteps: Tensor
    signal: float
    weights: Tensor
    steps: Tensor
    noise: Tensor

    def sample(self, z: Tensor, answers: Tensor) -> Tensor:
        """z_0 [B, ...] of noise `z` [B, ...] and the network's answers [T, B, ...]."""
        weights = self.weights.to(answers.device, answers.dtype)
        return self.signal * z + torch.einsum("t,t...->...", weights, answers)

    def noises(self, z: Tensor, answers: Tensor) -> Tensor:
        """The noise [T, B, ...] that each answer says is in the sample of its step; of "epsilon" the answers themselves."""
        found = []
        for (of_z, of_answer), (a, b), answer in zip(self.noise.tolist(), self.steps.tolist(), answers):
            found.append(of_answer * answer if of_z == 0 else of_z * z + of_answer * answer)
            z = a * z + b * answer
        return torch.stack(found)


def closed_form(scheduler: DDIMScheduler, steps: int) -> ClosedForm:
    """The constants of `steps` steps of a scheduler (`ddim_of`), whose `timestep_spacing` places them.

    Raises:
        AudiokdError: the number of steps does not divide the schedule; a spacing that is none of `SPACINGS`; one step under
            leading spacing, which is t = `steps_offset` where a picture is all but clean; a schedule that ends in pure noise asked
            for epsilon; clipping, which is not linear.
    """
    c: Any = scheduler.config
    total = c.num_train_timesteps
    if not 1 <= steps <= total or total % steps:
        few = ", ".join(str(n) for n in range(1, 26) if total % n == 0)
        raise AudiokdError(f"{steps} steps do not divide the schedule of {total}", fix=f"a divisor, such as {few}")
    if c.timestep_spacing not in SPACINGS:
        what = f"timestep_spacing {c.timestep_spacing}: its timesteps are not as far apart as diffusers' DDIM steps"
        raise AudiokdError(what, fix=f"--timestep_spacing, one of {', '.join(SPACINGS)}")
    if steps == 1 and c.timestep_spacing != "trailing":
        fix = f"timestep_spacing trailing, which begins at t = {total - 1}"
        raise AudiokdError(f"one step under {c.timestep_spacing} spacing is at t = {c.steps_offset}: no noise", fix=fix)
    if c.clip_sample or c.thresholding:
        fix = "clip_sample: false, thresholding: false"
        raise AudiokdError("the scheduler clips samples: DDIM has no closed form then", fix=fix)
    scheduler.set_timesteps(steps)
    t = scheduler.timesteps.long().cpu()
    if int(t[0]) >= total:
        raise AudiokdError(f"the first step is at t = {int(t[0])} of {total}", fix="fewer steps, or trailing spacing")
    alphas = scheduler.alphas_cumprod.double()
    a = alphas[t]
    last = torch.as_tensor(scheduler.final_alpha_cumprod, dtype=torch.float64).reshape(1)
    after = torch.cat([a[1:], last])
    picture, noise = _answers(c.prediction_type, a)
    linear = after.sqrt()[:, None] * picture + (1 - after).sqrt()[:, None] * noise
    if not torch.isfinite(linear).all():
        what = f"{c.prediction_type} says nothing of a picture at t = {int(t[0])}, where the schedule is pure noise"
        raise AudiokdError(what, fix="a teacher of v_prediction, or leading spacing")
    signal, weights = 1.0, []
    for scale, weight in reversed(linear.tolist()):
        weights.append(signal * weight)
        signal *= scale
    return ClosedForm(t, signal, torch.tensor(weights[::-1], dtype=torch.float64), linear, noise)


def ddim_of(scheduler: Any, **changes: Any) -> DDIMScheduler:
    """A DDIM scheduler on the schedule of any of diffusers' that noises as DDPM does; it does not clip.

    Args:
        scheduler: as a pipeline has it.
        changes: of its configuration, such as timestep_spacing.

    Raises:
        AudiokdError: another kind of schedule (flow matching), or a prediction type that is not of `PREDICTIONS`.
    """
    name = type(scheduler).__name__
    if not (isinstance(scheduler, DDIMScheduler) or DDIMScheduler in getattr(scheduler, "compatibles", ())):
        fix = "a teacher that was trained on a DDPM schedule (DDIM, DDPM, PNDM, Euler, DPM-Solver)"
        raise AudiokdError(f"{name} cannot be run as DDIM", fix=fix)
    prediction = scheduler.config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise AudiokdError(
            f"{name} predicts {prediction}", fix=f"a teacher that predicts one of {', '.join(PREDICTIONS)}"
        )
    return DDIMScheduler.from_config(scheduler.config, clip_sample=False, thresholding=False, **changes)


def _answers(prediction: str, a: Tensor) -> tuple[Tensor, Tensor]:
    """[T, 2] each: factors of sample and answer that give the picture, and the noise."""
    signal, noise, zero, one = a.sqrt(), (1 - a).sqrt(), torch.zeros_like(a), torch.ones_like(a)
    pairs = {
        "epsilon": ((1 / signal, -noise / signal), (zero, one)),
        "sample": ((zero, one), (1 / noise, -signal / noise)),
        "v_prediction": ((signal, -noise), (noise, signal)),
    }[prediction]
    picture, of_noise = (torch.stack(pair, -1) for pair in pairs)
    return picture, of_noise


def split(scheduler: DDIMScheduler, answer: Tensor, sample: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Picture and noise [B, ...] that a network's answer [B, ...] at timesteps [B] says a sample [B, ...] is made of."""
    a = scheduler.alphas_cumprod.to(sample.device, torch.float64)[timesteps]
    shape = (-1,) + (1,) * (sample.ndim - 1)
    picture, noise = _answers(scheduler.config.prediction_type, a)  # type: ignore[attr-defined]
    of = [(x[:, 0].reshape(shape).to(sample.dtype), x[:, 1].reshape(shape).to(sample.dtype)) for x in (picture, noise)]
    (a_x, a_o), (n_x, n_o) = of
    return a_x * sample + a_o * answer, n_x * sample + n_o * answer
