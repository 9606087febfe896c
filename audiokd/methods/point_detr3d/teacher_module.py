"""Training of the point-to-box teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.losses.box_l1 import box_l1
from audiokd.losses.sigmoid_focal import sigmoid_focal
from audiokd.methods.point_detr3d.match import hungarian
from audiokd.methods.point_detr3d.model import PointDetr3dModel, Said
from audiokd.methods.point_detr3d.module import BoxesModule
from audiokd.vision.box_code import from_code, to_code
from audiokd.vision.rotated_iou import iou_3d


class TeacherModule(BoxesModule):
    """Points to boxes. best.ckpt has the best mean IoU in space on the frames of --dev, whose marks are given."""

    shown = ("iou", "centre_m")
    model: PointDetr3dModel

    def __init__(self, settings: Any, model: PointDetr3dModel, pretrained: tuple[str, ...] = ()):
        super().__init__(settings, model, pretrained)
        #: frame -> the frozen backbone's maps of its pictures, where they are kept
        self._maps: dict[str, list[Tensor]] = {}

    def _heard(self, batch: dict[str, Any]) -> list[Said]:
        config = self.model.config
        if config.cameras and config.frozen_backbone and self.settings.teacher.keep_maps:
            batch = batch | {"maps": self.maps_of(batch["ids"], batch["images"])}
        return self.model(batch)

    @torch.no_grad()
    def maps_of(self, ids: list[str], images: Tensor) -> list[Tensor]:
        """The frozen backbone's maps of pictures [B, C, 3, H, W], made once a frame: a moved scene has the pictures that it had."""
        assert self.model.pictures is not None
        for id, of in zip(ids, images):
            if id not in self._maps:
                self._maps[id] = [m.cpu() for m in self.model.pictures.backbone(of)]
        levels = zip(*(self._maps[i] for i in ids))
        return [torch.cat(level).to(images.device) for level in levels]

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """`class` and `box`, each a sum over decoder layers."""
        return self.losses_of(self._heard(batch), batch)

    def losses_of(self, said: list[Said], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The losses of what each decoder layer said."""
        s, classes = self.settings.loss, len(self.model.config.labels)
        kinds, boxes = [], []
        for layer in said:
            want = self._matched(layer, batch)
            targets = F.one_hot(batch["labels"][want], classes)
            kinds.append(sigmoid_focal(layer.logits.float(), targets))
            boxes.append(box_l1(layer.code.float(), to_code(batch["boxes"])[want]))
        return {"class": s.class_focal * torch.stack(kinds).sum(), "box": s.point_box * torch.stack(boxes).sum()}

    def _matched(self, layer: Said, batch: dict[str, Any]) -> Tensor:
        """[N]: the box that each query learns."""
        count = torch.arange(len(batch["boxes"]), device=layer.logits.device)
        if self.settings.teacher.matching == "identity":
            return count
        s = self.settings.loss
        out = count.clone()
        for item in range(len(batch["ids"])):
            own = (batch["objects"] == item).nonzero()[:, 0]
            if len(own):
                boxes, labels = batch["boxes"][own], batch["labels"][own]
                found = hungarian(layer.logits[own], layer.code[own], boxes, labels, (s.class_focal, s.point_box))
                out[own] = own[found]
        return out

    def validate_batch(self, batch: dict[str, Any]) -> None:
        """Losses; of the last layer the mean IoU in space, the error of the centre on the ground, the share of right classes."""
        if not len(batch["boxes"]):
            return
        said = self._heard(batch)
        parts = self.losses_of(said, batch)
        boxes = from_code(said[-1].code.float())
        found = {
            "iou": iou_3d(boxes, batch["boxes"]).mean(),
            "centre_m": (boxes[:, :2] - batch["boxes"][:, :2]).norm(dim=1).mean(),
            "class_right": (said[-1].logits.argmax(1) == batch["labels"]).float().mean(),
        }
        self.add_val({"loss": torch.stack([*parts.values()]).sum(), **parts, **found}, len(batch["boxes"]))

    def criterion(self) -> float:
        return -self.val_metrics["iou"]
