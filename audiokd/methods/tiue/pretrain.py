"""Pretraining a small conditional diffusion model (DDPM, arXiv 2006.11239; conditions dropped for guidance, arXiv 2207.12598)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.methods.tiue.module import DiffusionModule


class PretrainModule(DiffusionModule):
    """best.ckpt has the lowest error of the average's prediction on validation items, at a noise and a time of each that stay."""

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        x = batch["pixel_values"]
        told = self.dropped(batch["prompts"], self.settings.noising.drop_condition)
        t = torch.randint(self.settings.noising.timesteps, (len(x),), device=x.device)
        loss = self.error(self.student, x, torch.randn_like(x), t, told)
        optimizer: Any = self.optimizers()
        norm = self.update(self.student, optimizer, self.settings.optim.lr, {"denoising": loss}, batch)
        self.average()
        self.step_done({"loss": loss, "grad_norm": norm, "lr": optimizer.param_groups[0]["lr"]})

    def error(self, network: nn.Module, x: Tensor, noise: Tensor, t: Tensor, told: dict[str, Any]) -> Tensor:
        """Mean squared error of what the network predicts (`prediction_type`) of pictures [B, C, H, W] noised to t [B]."""
        scheduler: Any = self.pipeline.scheduler
        target = {"epsilon": noise, "sample": x}.get(scheduler.config.prediction_type)
        if target is None:
            target = scheduler.get_velocity(x, noise, t)
        found = network(scheduler.add_noise(x, noise, t), t, **told).sample
        return F.mse_loss(found.float(), target)

    def validate_batch(self, batch: dict[str, Any]) -> None:
        x, ids = batch["pixel_values"], batch["ids"]
        noise, t = self.drawn(ids, tuple(x.shape[1:])), self.times(ids, 0, self.settings.noising.timesteps)
        loss = self.error(self.ema, x, noise, t, self.pipeline.conditions(batch["prompts"]))
        self.add_val({"loss": loss}, len(x))
