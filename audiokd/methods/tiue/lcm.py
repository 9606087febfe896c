"""Latent consistency distillation (arXiv 2310.04378), of data: what TiUE is compared with on the same floor.

The student's answer at a step of the teacher's solver is drawn to what an average of the student says one solver step further on.
Officially the student is told the guidance, drawn anew each time; here it is one, as LCM-LoRA's trainers have it.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.losses.pseudo_huber import pseudo_huber
from audiokd.methods.tiue.distill import spread
from audiokd.methods.tiue.module import DiffusionModule, alphas
from audiokd.methods.tiue.settings import TiUESettings
from audiokd.nn.ema import ema_update
from audiokd.vision.consistency import consistent, sampling_timesteps, training_timesteps
from audiokd.vision.ddim import ddim_of, split
from audiokd.vision.tiue_pipeline import Conditions, TiUEPipeline, guided, joined


class LCMModule(DiffusionModule):
    """A consistency model, the average that its targets come from, and the slower one that is exported. best.ckpt is the last one
    that was validated: the loss falls where the student says one picture of everything, too.

    Args:
        settings: configuration.
        pipeline: the teacher's.
        student: what learns.

    Raises:
        AudiokdError: a solver whose steps do not divide the schedule, or of fewer steps than the student's.
    """

    def __init__(self, settings: TiUESettings, pipeline: TiUEPipeline, student: nn.Module):
        super().__init__(settings, pipeline, student)
        self.target = copy.deepcopy(self.ema)
        self.schedule = ddim_of(pipeline.scheduler)
        total = self.schedule.config.num_train_timesteps
        self.grid = training_timesteps(total, settings.distill.solver_steps)
        self.skip = total // settings.distill.solver_steps
        # what it cannot be sampled at is said now, not after training
        sampling_timesteps(total, settings.distill.solver_steps, settings.distill.student_steps)

    def train(self, mode: bool = True) -> LCMModule:
        """As of torch, but averages stay in eval mode."""
        super().train(mode)
        self.target.eval()
        return self

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        x = self.pipeline.encode(batch["pixel_values"])
        t = self.grid.to(x.device)[torch.randint(len(self.grid), (len(x),), device=x.device)]
        loss, _ = self.error(self.student, x, torch.randn_like(x), t, self.pipeline.conditions(batch["prompts"]))
        optimizer: Any = self.optimizers()
        norm = self.update(self.student, optimizer, self.settings.optim.lr, {"consistency": loss}, batch)
        ema_update(self.target, self.student, self.settings.distill.target_decay)
        self.average()
        self.step_done({"loss": loss, "grad_norm": norm, "lr": optimizer.param_groups[0]["lr"]})

    def error(self, network: nn.Module, x: Tensor, noise: Tensor, t: Tensor, told: Conditions) -> tuple[Tensor, Tensor]:
        """The loss of a network on pictures [B, ...] noised to t [B] of the solver's steps, and its answer [B, ...]."""
        noised = self.schedule.add_noise(x, noise, t)
        found = self.answer(network, noised, t, told)
        with torch.no_grad():
            before = self.solved(noised, t, told)
            target = self.answer(self.target, before, (t - self.skip).clamp(min=0), told)
            last = (t < self.skip).reshape((-1,) + (1,) * (x.ndim - 1))
            target = torch.where(last, before, target)  # at t = 0 a consistency model is what it is given
        return pseudo_huber(found, target, self.settings.distill.huber), found

    def answer(self, network: nn.Module, x: Tensor, t: Tensor, told: Conditions) -> Tensor:
        """f(x, t), [B, ...]."""
        said = network(x, t, **{"encoder_hidden_states": None} | told).sample.float()
        return consistent(x, split(self.schedule, said, x, t)[0], t)

    def solved(self, x: Tensor, t: Tensor, told: Conditions) -> Tensor:
        """One DDIM step of the guided teacher from x [B, ...] at t [B]."""
        w = self.settings.distill.guidance
        both = told if w == 1 else joined(self.empty(len(x)), told)

        def network(x: Tensor) -> Tensor:
            times = t.repeat(len(x) // len(t))
            return self.pipeline.unet(x, times, **{"encoder_hidden_states": None} | both).sample.float()

        picture, noise = split(self.schedule, guided(network, x, w), x, t)
        shape = (-1,) + (1,) * (x.ndim - 1)
        a = alphas(self.schedule, (t - self.skip).clamp(min=0))
        a = torch.where(t < self.skip, torch.ones_like(a), a).reshape(shape)
        return a.sqrt() * picture + (1 - a).sqrt() * noise

    def validate_batch(self, batch: dict[str, Any]) -> None:
        x, ids = self.pipeline.encode(batch["pixel_values"]), batch["ids"]
        t = self.grid.to(x.device)[self.times(ids, 0, len(self.grid))]
        told, noise = self.pipeline.conditions(batch["prompts"]), self.drawn(ids, tuple(x.shape[1:]))
        loss, _ = self.error(self.ema, x, noise, t, told)
        last = self.grid[-1:].to(x.device).expand(len(x))
        one_step = self.answer(self.ema, noise, last, told)
        self.add_val({"loss": loss, "spread": spread(one_step), "std": one_step.std()}, len(x))

    def criterion(self) -> float:
        return -float(self.iteration)
