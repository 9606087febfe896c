"""A student learns to say what its teacher says of normal pictures: DBFAD (arXiv 2401.02287), RD4AD (2201.10703), STFPM
(2103.04257)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.losses.flat_cosine import flat_cosine
from audiokd.losses.pixel_cosine import pixel_cosine
from audiokd.methods.dbfad.model import distances
from audiokd.methods.dbfad.settings import DBFADSettings
from audiokd.teachers.pyramid import PyramidTeacher
from audiokd.training.base import RunModule
from audiokd.training.early_stop import EarlyStop
from audiokd.training.plateau import Plateau
from audiokd.vision.anomaly_map import AnomalyMap, scores_of

EVERY = 4  # pixels along each axis, of which one is kept for the threshold of pixels: the map is smooth
BLUR_SIGMA = 0.8  # pixels: OpenCV's of a kernel of 3


class DBFADModule(RunModule):
    """The student; the teacher is out of torch's sight. best.ckpt has the least loss on held-out normal pictures.

    Args:
        settings: configuration.
        student: (pictures, teacher's maps) -> maps.
        teacher: gives the maps.
        to_map: of the detector that is exported.
    """

    shown = ("loss",)
    exported = "student."

    def __init__(self, settings: DBFADSettings, student: nn.Module, teacher: PyramidTeacher, to_map: AnomalyMap):
        super().__init__(settings.run)
        self.settings, self.student, self.teacher, self.to_map = settings, student, teacher, to_map
        self.plateau = Plateau(settings.optim.patience, settings.optim.factor)
        self.early_stop = EarlyStop(settings.optim.stop_patience)
        #: of the last validation, and the step that it was at
        self.thresholds: dict[str, float] = {}
        self._scores: list[Tensor] = []
        self._pixels: list[Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o = self.settings.optim
        if o.name == "sgd":
            return torch.optim.SGD(self.student.parameters(), o.lr, o.momentum, weight_decay=o.weight_decay)
        return torch.optim.Adam(self.student.parameters(), o.lr, (o.beta1, o.beta2), weight_decay=o.weight_decay)

    def train(self, mode: bool = True) -> DBFADModule:
        """As of torch; with the quirk the student stays in eval mode from the first validation on."""
        super().train(mode)
        if self.settings.quirks.eval_after_val and self.iteration >= self.run.val_every:
            self.student.eval()
        return self

    def distance(self, mine: list[Tensor], theirs: list[Tensor]) -> Tensor:
        """The loss of the student's maps, scalar: a mean over levels of DBFAD, a sum of the others."""
        s = self.settings
        if s.loss.name == "flat":
            return flat_cosine(mine, theirs)
        return pixel_cosine(mine, theirs, "mean" if s.model.kind == "dbfad" else "sum", s.loss.items)

    def seen(self, images: Tensor) -> Tensor:
        """Pictures as they are learnt from and selected by."""
        return blurred(images) if self.settings.quirks.blur else images

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        self.train()  # whatever a validation or a resumed run left it in
        optimizer: Any = self.optimizers()
        lr = self.settings.optim.lr * self.plateau.scale
        for group in optimizer.param_groups:
            group["lr"] = lr
        x = self.seen(batch["student"]["pixel_values"])
        theirs = self.teacher.targets({"pixel_values": x})
        loss = self.distance(self.student(x, theirs), theirs)
        self.check_finite(loss, batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(self.student.parameters(), 0.0, batch)
        optimizer.step()
        self.step_done({"loss": loss, "grad_norm": norm, "lr": lr})

    def validate_batch(self, batch: dict[str, Any]) -> None:
        images = batch["student"]["pixel_values"]
        x = self.seen(images)
        theirs = self.teacher.targets({"pixel_values": x})
        mine = self.student(x, theirs)
        loss = self.distance(mine, theirs)
        rows = len(x)
        self.add_val({"loss": loss / rows if self._summed else loss}, rows)
        if x is not images:  # the thresholds are of pictures as they are tested
            theirs = self.teacher.targets({"pixel_values": images})
            mine = self.student(images, theirs)
        maps = self.to_map(distances(mine, theirs))
        self._scores.append(scores_of(maps).cpu())
        self._pixels.append(maps[:, ::EVERY, ::EVERY].flatten().cpu())

    @property
    def _summed(self) -> bool:
        return self.settings.loss.name == "pixel" and self.settings.loss.items == "sum"

    def val_means(self) -> dict[str, float]:
        """Also the thresholds: the quantile of the scores, and of the pixels."""
        parts, quantile = self.of_processes((self._scores, self._pixels)), self.settings.data.quantile
        self._scores, self._pixels = [], []
        means = super().val_means()
        scores, pixels = (torch.cat([x for part in parts for x in part[k]]).numpy() for k in (0, 1))
        # not between two: a score that a normal picture had
        found = {k: float(np.quantile(x, quantile, method="higher")) for k, x in (("score", scores), ("pixel", pixels))}
        self.thresholds = {**found, "quantile": quantile, "pictures": len(scores), "step": self.iteration}
        return means | {"threshold": found["score"], "pixel_threshold": found["pixel"]}

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.plateau.judge(self.val_metrics["loss"], self.iteration)
        self.early_stop.judge(self.val_metrics["loss"], self.iteration)
        if self.early_stop.done:
            self.trainer.should_stop = True

    @property
    def done(self) -> bool:
        """Also where the loss has stood still."""
        return super().done or self.early_stop.done

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["plateau"], checkpoint["thresholds"] = self.plateau.state_dict(), dict(self.thresholds)
        checkpoint["early_stop"] = self.early_stop.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.plateau.load_state_dict(checkpoint["plateau"])
        self.early_stop.load_state_dict(checkpoint["early_stop"])
        self.thresholds = dict(checkpoint["thresholds"])


def blurred(images: Tensor) -> Tensor:
    """Pictures [B, C, H, W] through a Gaussian of 3 x 3, mirrored at the borders, as OpenCV has it."""
    side = float(np.exp(-0.5 / BLUR_SIGMA**2))
    row = torch.tensor([side, 1.0, side], device=images.device, dtype=images.dtype) / (1 + 2 * side)
    kernel = (row[:, None] * row).expand(images.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), "reflect"), kernel, groups=images.shape[1])
