"""The point-to-box teacher (Point-DETR3D, arXiv 2403.15317): a query for every point that somebody has set, and a box from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from transformers import PreTrainedModel

from audiokd.data.frame3d import Frame3d
from audiokd.errors import ConfigError
from audiokd.methods.point_detr3d.center_point import BevEncoder, as_arrays
from audiokd.methods.point_detr3d.config import PointDetr3dConfig
from audiokd.methods.point_detr3d.frames import check_frame, collate_frames, frame_tensors, grid_of
from audiokd.methods.point_detr3d.query import PointQuery
from audiokd.methods.point_detr3d.roi_attention import RoIAttention, Views
from audiokd.nn.lengths import rows_by_item
from audiokd.nn.tables import KeepsTables
from audiokd.vision.box_code import CODE, from_code
from audiokd.vision.feature_pyramid import FeaturePyramid

RARE = -float(np.log((1 - 0.01) / 0.01))  # bias of class logits: a chance of 0.01 (RetinaNet's)
EDGE = 1e-3  # of the range: a point on its border can be moved still


class Said(NamedTuple):
    """Of one decoder layer, for every mark in its order.

    Attributes:
        logits: [N, K].
        code: [N, 8] as `audiokd.vision.box_code`, in metres.
    """

    logits: Tensor
    code: Tensor


class PictureMaps(nn.Module):
    """Pictures to maps of one width.

    Args:
        config: PointDetr3dConfig.

    Attributes:
        pyramid: timm's network, always in eval mode.
    """

    def __init__(self, config: Any):
        super().__init__()
        self.pyramid = FeaturePyramid(config.backbone, stem=False)
        if any(side % (self.pyramid.multiple // 2) for side in config.camera_size):
            what = f"pictures of {list(config.camera_size)} pixels, multiples of {self.pyramid.multiple // 2} are due"
            raise ConfigError(what, where="model.camera_size")
        self.levels = config.image_levels
        channels = [of.channels for of in self.pyramid.levels[-self.levels :]]
        self.fpn = FeaturePyramidNetwork(channels, config.dim)
        for name in ("mean", "std"):
            value = torch.tensor(getattr(config, f"image_{name}")).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.pyramid.eval().requires_grad_(not config.frozen_backbone)

    def train(self, mode: bool = True) -> PictureMaps:
        """As of torch; the backbone stays in eval mode: its batch norms keep the statistics that they came with."""
        super().train(mode)
        self.pyramid.eval()
        return self

    def backbone(self, images: Tensor) -> list[Tensor]:
        """The backbone's maps [N, C_l, h_l, w_l] of `images` uint8 [N, 3, H, W]."""
        return self.pyramid((images.float() / 255 - self.mean) / self.std)[-self.levels :]

    def forward(self, maps: Sequence[Tensor], items: int) -> list[Tensor]:
        """[B, C, dim, h_l, w_l] of the backbone's maps of B items' C cameras, item by item."""
        out = self.fpn({str(k): m for k, m in enumerate(maps)})
        return [m.view(items, -1, *m.shape[1:]) for m in out.values()]


class DecoderLayer(nn.Module):
    """Attention, norm, feed-forward network, norm; and the heads of what comes out. No query sees another.

    Args:
        config: PointDetr3dConfig.
        levels: maps of the ground.
    """

    def __init__(self, config: Any, levels: int):
        super().__init__()
        d = config.dim
        self.attention = RoIAttention(config, levels, grid_of(config))
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        drop = [nn.Dropout(config.dropout) for _ in range(2)]
        self.ffn = nn.Sequential(nn.Linear(d, config.ffn), nn.ReLU(), drop[0], nn.Linear(config.ffn, d), drop[1])
        part = [(nn.Linear(d, d), nn.LayerNorm(d), nn.ReLU()) for _ in range(2)]
        self.classify = nn.Sequential(*part[0], *part[1], nn.Linear(d, len(config.labels)))
        nn.init.constant_(self.classify[-1].bias, RARE)
        self.regress = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU(), nn.Linear(d, CODE))

    def forward(self, query: Tensor, *told: Any) -> Tensor:
        """[B, Q, D], as of `RoIAttention`."""
        query = self.norm1(self.attention(query, *told))
        return self.norm2(query + self.ffn(query))


class PointDetr3dModel(KeepsTables, PreTrainedModel):
    """Boxes of the objects that marks stand on, from points and pictures.

    Args:
        config: of it.

    Raises:
        ConfigError: as `BevEncoder`; a range of pictures that the backbone cannot take; heads that do not divide the width.
    """

    config_class = PointDetr3dConfig
    base_model_prefix = "point_detr3d"
    main_input_name = "points"
    kind = "points"
    per_mark = True  # a box of each object that has a mark, in their order
    feature_layers = ()

    def __init__(self, config: PointDetr3dConfig):
        super().__init__(config)
        if config.dim % config.heads:
            raise ConfigError(f"{config.heads} heads of a width of {config.dim}", where="model.heads")
        with self.tables():
            self.encoder = BevEncoder(config)
            self.fpn = FeaturePyramidNetwork(list(config.widths), config.dim)
            self.pictures = PictureMaps(config) if config.cameras else None
            self.query = PointQuery(config)
            levels = len(config.widths)
            self.layers = nn.ModuleList(DecoderLayer(config, levels) for _ in range(config.decoder_layers))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the parts have begun by themselves."""

    def forward(self, batch: dict[str, Any]) -> list[Said]:
        """What each decoder layer says of `marks` [N, 3] with `labels` [N] and `objects` [N], whose item each is.

        Args:
            batch: as `audiokd.methods.point_detr3d.frames.collate_frames` makes it; `maps`, the backbone's maps of all pictures,
                may stand in for `images`.
        """
        count, grid = len(batch["ids"]), grid_of(self.config)
        named = {str(k): m for k, m in enumerate(self.encoder(batch))}
        maps = list(self.fpn(named).values())
        views = self._views(batch, count)
        marks, place = rows_by_item(batch["marks"].float(), batch["objects"], count)
        labels, _ = rows_by_item(batch["labels"], batch["objects"], count)
        query, position = self.query(grid.relative(marks), labels)
        points, boxes = marks, self.first_regions(marks, labels)
        said = []
        for layer in self.layers:
            query = layer(query, position, points, boxes, maps, views)
            code = self.code_of(layer.regress(query), points)
            said.append(Said(layer.classify(query).flatten(0, 1)[place], code.flatten(0, 1)[place]))
            boxes = from_code(code.detach())
            points = boxes[..., :3]
        return said

    def first_regions(self, marks: Tensor, labels: Tensor) -> Tensor:
        """[..., 7]: what the first layer takes an object to be: around its mark, along x."""
        sizes = marks.new_tensor(self.config.roi_start or self.config.class_sizes)
        sizes = sizes.expand(marks.shape) if self.config.roi_start else sizes[labels]
        return torch.cat([marks, sizes, torch.zeros_like(marks[..., :1])], -1)

    def code_of(self, raw: Tensor, points: Tensor) -> Tensor:
        """[..., 8] in metres of what the head gives: x and y from the point on, in the logits of the range; all else as it is."""
        low, high = (raw.new_tensor(side[:2]) for side in (self.config.low, self.config.high))
        start = ((points[..., :2] - low) / (high - low)).clamp(EDGE, 1 - EDGE).logit()
        return torch.cat([low + (raw[..., :2] + start).sigmoid() * (high - low), raw[..., 2:]], -1)

    def _views(self, batch: dict[str, Any], count: int) -> Views | None:
        if self.pictures is None:
            return None
        maps = batch["maps"] if "maps" in batch else self.pictures.backbone(batch["images"].flatten(0, 1))
        return Views(self.pictures(maps, count), batch["matrices"], tuple(self.config.camera_size))

    @torch.no_grad()
    def predict(self, frames: Sequence[Frame3d]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Boxes [N, 9] float32 (the speed is not predicted: NaN), labels [N] int64 and scores [N] float32 of each frame: one of
        each object that has a mark, in their order. That of a mark outside the range, of which nothing is seen, stands at the
        mark's own x and y: who learns from the boxes, or scores them, can leave it out.

        A label is the one that was told, unless `config.predict_class`; the score is what the network gives it.

        Raises:
            FrameError: a frame that cannot be used.
        """
        c = self.config
        for frame in frames:
            check_frame(frame, len(c.labels), c.cameras)
        if not frames:
            return []
        rows = []
        for frame in frames:
            has = ~np.isnan(frame.marks).any(1)
            marks, labels = torch.from_numpy(frame.marks[has]).float(), torch.from_numpy(frame.labels[has])
            rows.append(frame_tensors(frame, c) | {"marks": marks, "labels": labels})
        batch = collate_frames(rows)
        batch = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        said = self(batch)[-1]
        scores = said.logits.float().sigmoid()
        labels = scores.argmax(1) if c.predict_class else batch["labels"]
        boxes, of = from_code(said.code.float()), batch["objects"]
        low, high = (boxes.new_tensor(side[:2]) for side in (c.low, c.high))
        places = batch["marks"][:, :2].float()
        inside = ((places >= low) & (places < high)).all(1, keepdim=True)
        boxes[:, :2] = torch.where(inside, boxes[:, :2], places)  # the range's border is no place of theirs
        scores = scores.gather(1, labels[:, None])[:, 0]
        return [as_arrays(boxes[of == k], labels[of == k], scores[of == k]) for k in range(len(frames))]
