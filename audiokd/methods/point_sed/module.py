"""Training of the point-to-interval teacher: query i learns interval i."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audiokd.losses.box_l1 import box_l1
from audiokd.methods.point_sed.model import PointSedModel
from audiokd.methods.point_sed.settings import PointSedSettings
from audiokd.methods.point_sed.views import mixed, stretched
from audiokd.nn.intervals import interval_iou, to_interval_code
from audiokd.training.base import RunModule
from audiokd.training.forecast import Forecast
from audiokd.training.optim import matrices_decay, set_learning_rate

TOLD = ("points", "labels", "whose")


class PointSedModule(RunModule):
    """Points to intervals. best.ckpt has the best mean IoU on the points of --dev.

    Args:
        settings: configuration.
        model: that learns.
    """

    shown = ("iou", "onset_s", "offset_s")
    exported = "model."

    def __init__(self, settings: PointSedSettings, model: PointSedModel):
        super().__init__(settings.run)
        self.settings, self.model, self.forecast = settings, model, Forecast()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return matrices_decay(self.model.parameters(), self.settings.optim)

    def said(self, batch: dict[str, Any]) -> list[Tensor]:
        """Codes [N, 2] of each decoder layer."""
        return self.model(batch["wav"], batch["lengths"].to(self.device), *(batch[k] for k in TOLD))

    def losses(self, codes: list[Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """`centre` and `length`, weighted, each a sum over decoder layers."""
        s, mean_s = self.settings.loss, batch["points"].new_tensor(self.model.config.mean_s)[batch["labels"]]
        want = to_interval_code(batch["intervals"], batch["points"], mean_s)
        sides = [[box_l1(c[:, k : k + 1].float(), want[:, k : k + 1]) for c in codes] for k in range(2)]
        return {"centre": s.centre * torch.stack(sides[0]).sum(), "length": s.length * torch.stack(sides[1]).sum()}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        self.train()
        optimizer: Any = self.optimizers()
        lr = set_learning_rate(self.iteration, self.settings.optim, self.run, optimizer)
        batch = mixed(batch, self.settings.augment.mix)
        mel, frames = self.model.frontend(batch["wav"], batch["lengths"].to(self.device))
        mel, frames, batch = stretched(mel, frames, batch, self.settings.augment.stretch)
        parts = self.losses(self.model.codes_of(mel, frames, *(batch[k] for k in TOLD)), batch)
        loss = torch.stack([*parts.values()]).sum()
        self.check_finite(loss, batch, parts)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(self.model.parameters(), self.settings.optim.grad_clip, batch)
        optimizer.step()
        if self.global_rank == 0:
            self.forecast.after(self.iteration, self.run.max_steps)
        self.step_done({"loss": loss, **parts, "grad_norm": norm, "lr": lr})

    def validate_batch(self, batch: dict[str, Any]) -> None:
        """Losses; of the last layer the mean IoU, the errors of middle, onset and offset, and the IoU of the mean length about the
        point."""
        points, labels, want = batch["points"], batch["labels"], batch["intervals"]
        if not len(points):
            return
        codes = self.said(batch)
        parts = self.losses(codes, batch)
        found = self.model.intervals_of(codes[-1], points, labels)
        fixed = self.model.intervals_of(torch.zeros_like(codes[-1]), points, labels)
        off = (found - want).abs()
        scores = {
            "iou": interval_iou(found, want).mean(),
            "iou_fixed": interval_iou(fixed, want).mean(),
            "centre_s": (found.mean(1) - want.mean(1)).abs().mean(),
            "onset_s": off[:, 0].mean(),
            "offset_s": off[:, 1].mean(),
        }
        self.add_val({"loss": torch.stack([*parts.values()]).sum(), **parts, **scores}, len(points))

    def criterion(self) -> float:
        return -self.val_metrics["iou"]
