"""What a consistency model answers (arXiv 2303.01469), and the steps that one is sampled at, as latent consistency models have
them (arXiv 2310.04378): the answer is the picture itself, and between steps it is noised anew."""

from __future__ import annotations

import torch
from torch import Tensor

from audiokd.errors import AudiokdError

SIGMA_DATA, TIMESTEP_SCALING = 0.5, 10.0  # of LCM's code, and diffusers' LCMScheduler


def consistent(sample: Tensor, picture: Tensor, timesteps: Tensor) -> Tensor:
    """f = c_skip x + c_out x0, [B, ...]: at t = 0 the sample itself, whatever the network says.

    Args:
        sample: x [B, ...] at `timesteps` [B].
        picture: x0 [B, ...], what the network says.
        timesteps: [B].
    """
    t = (timesteps.double() * TIMESTEP_SCALING).reshape((-1,) + (1,) * (sample.ndim - 1))
    skip = SIGMA_DATA**2 / (t**2 + SIGMA_DATA**2)
    out = t / (t**2 + SIGMA_DATA**2).sqrt()
    return skip.to(sample.dtype) * sample + out.to(sample.dtype) * picture


def training_timesteps(total: int, solver_steps: int) -> Tensor:
    """The solver's steps, Long [solver_steps], rising: k, 2 k, ... less one, k = total / solver_steps.

    Raises:
        AudiokdError: `solver_steps` does not divide `total`.
    """
    if not 1 <= solver_steps <= total or total % solver_steps:
        raise AudiokdError(
            f"{solver_steps} solver steps do not divide the schedule of {total}", fix="a divisor, such as 50"
        )
    skip = total // solver_steps
    return torch.arange(1, solver_steps + 1) * skip - 1


def sampling_timesteps(total: int, solver_steps: int, steps: int) -> Tensor:
    """Long [steps], falling: of `training_timesteps` as many, evenly, from the last on.

    Raises:
        AudiokdError: there are fewer.
    """
    grid = training_timesteps(total, solver_steps).flip(0)
    if not 1 <= steps <= solver_steps:
        fix = f"1 to {solver_steps}, the solver's"
        raise AudiokdError(f"{steps} steps of a model that learnt {solver_steps}", fix=fix)
    return grid[torch.tensor([k * solver_steps // steps for k in range(steps)])]
