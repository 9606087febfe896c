"""Training of CenterPoint, as first labeller and as student."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audiokd.losses.box_l1 import box_l1
from audiokd.losses.heat_map_focal import heat_map_focal
from audiokd.losses.point_guided import point_guided
from audiokd.methods.point_detr3d.center_point import CenterPointModel, Found
from audiokd.methods.point_detr3d.frames import grid_of
from audiokd.methods.point_detr3d.settings import PointDetr3dSettings
from audiokd.methods.point_detr3d.targets import head_targets, object_map
from audiokd.training.base import RunModule
from audiokd.training.forecast import Forecast
from audiokd.training.optim import set_learning_rate
from audiokd.vision.bev_augment import undo_on_map


class BoxesModule(RunModule):
    """What the training of both detectors shares: one AdamW, a sum of losses by name, and how long the run will take.

    Args:
        settings: configuration.
        model: that learns.
        pretrained: names of its parts that began with other weights than drawn ones.
    """

    shown = ("loss",)
    exported = "model."

    def __init__(self, settings: PointDetr3dSettings, model: Any, pretrained: tuple[str, ...] = ()):
        super().__init__(settings.run)
        self.settings, self.model, self.pretrained = settings, model, pretrained
        self.forecast = Forecast()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o = self.settings.optim
        groups: dict[tuple[bool, bool], list[Tensor]] = {}
        for name, p in self.model.named_parameters():
            if p.requires_grad:
                groups.setdefault((name.startswith(self.pretrained or ("-",)), p.ndim > 1), []).append(p)
        given = [
            {
                "params": ps,
                "weight_decay": o.weight_decay if matrix else 0.0,
                "scale": o.pretrained_scale if old else 1.0,
            }
            for (old, matrix), ps in sorted(groups.items(), key=lambda kv: kv[0])
        ]
        return torch.optim.AdamW(given, lr=o.lr, betas=(o.beta1, o.beta2), eps=o.eps)

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Parts of the loss of a batch, weighted, by name."""
        raise NotImplementedError

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        self.train()
        optimizer: Any = self.optimizers()
        lr = set_learning_rate(self.iteration, self.settings.optim, self.run, optimizer)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        parts = self.losses(batch)
        loss = torch.stack([*parts.values()]).sum()
        self.check_finite(loss, batch, parts)
        optimizer.zero_grad()
        self.manual_backward(loss)
        learning = [p for p in self.model.parameters() if p.grad is not None]
        norm = self.clip_gradient(learning, self.settings.optim.grad_clip, batch)
        optimizer.step()
        if self.global_rank == 0:
            self.forecast.after(self.iteration, self.run.max_steps)
        outside = batch["outside"].float().mean()  # points of a frame that are not in the range
        self.step_done({"loss": loss, **parts, "grad_norm": norm, "lr": lr, "points_outside": outside})


class CenterPointModule(BoxesModule):
    """CenterPoint from boxes; the student's from two views of a scene, too. best.ckpt has the least detection loss on --dev."""

    model: CenterPointModel

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """`heat` and `box`; with a second view `point_guided`."""
        found = self.model(batch)
        parts = self.detection(found, batch)
        if "weak" in batch:
            parts["point_guided"] = self.settings.loss.point_guided * self.agreement(found.features, batch)
        return parts

    def detection(self, found: Found, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The heat maps' focal loss and the boxes' L1, each a mean over heads."""
        heat, box, s = [], [], self.settings.loss
        for group, logits, code in zip(self.model.groups, found.heat, found.code):
            t = head_targets(
                batch["boxes"], batch["labels"], batch["objects"], group, self.model.config, len(batch["ids"])
            )
            heat.append(heat_map_focal(logits.float(), t.heat))
            box.append(box_l1(code.float()[t.item, :, t.row, t.column], t.code))
        return {"heat": s.heat * torch.stack(heat).mean(), "box": s.box * torch.stack(box).mean()}

    def agreement(self, features: Tensor, batch: dict[str, Any]) -> Tensor:
        """How far what is learnt of the moved scene is from what is seen of the scene as it is, where objects are."""
        weak = batch["weak"]
        with torch.no_grad():
            # only what the loss reads: the heads are not asked
            theirs = self.model.neck(self.model.encoder(weak))
        config = self.model.config
        mine, there = undo_on_map(features.float(), batch["augment"], grid_of(config))
        where = object_map(weak["boxes"], weak["labels"], weak["objects"], config, len(weak["ids"]))
        return point_guided(mine, theirs.float(), where * there, len(weak["boxes"]))

    def validate_batch(self, batch: dict[str, Any]) -> None:
        parts = self.detection(self.model(batch), batch)
        self.add_val({"loss": torch.stack([*parts.values()]).sum(), **parts}, len(batch["ids"]))
