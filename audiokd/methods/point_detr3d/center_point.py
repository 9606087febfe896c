"""CenterPoint (arXiv 2006.11275) on pillars or voxels: heat maps of centres, a box at each cell. First labeller, and student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.data.frame3d import BOX, Frame3d
from audiokd.errors import ConfigError
from audiokd.methods.point_detr3d.config import CenterPointConfig
from audiokd.methods.point_detr3d.frames import check_frame, collate_frames, frame_tensors, grid_of
from audiokd.vision.bev_grid import check_grid
from audiokd.vision.box_code import CODE, from_code
from audiokd.vision.pillars import PillarEncoder
from audiokd.vision.rotated_iou import suppressed
from audiokd.vision.second import SecondBackbone, SecondNeck, conv_block
from audiokd.vision.voxels import VoxelEncoder

RARE = -2.19  # bias of heat maps: a chance of 0.1 (CenterNet's)


class Found(NamedTuple):
    """What the network says of a batch.

    Attributes:
        features: [B, C, H, W] that the heads read.
        heat: of each head, logits [B, K_t, H, W].
        code: of each head [B, 8, H, W]: way from the cell's corner to the centre along x and y in cells, then as
            `audiokd.vision.box_code`.
    """

    features: Tensor
    heat: list[Tensor]
    code: list[Tensor]


class BevEncoder(nn.Module):
    """Points to maps of the ground, as labeller, student and teacher have it.

    Args:
        config: of one of them.

    Raises:
        ConfigError: a range that is not whole cells, or an encoder that does not go with the layers.
    """

    def __init__(self, config: Any):
        super().__init__()
        grid = grid_of(config)
        check_grid(grid, int(np.prod(config.strides)))
        cls = {"pillar": PillarEncoder, "voxel": VoxelEncoder}[config.encoder]
        self.points = cls(grid, config.point_channels)
        self.backbone = SecondBackbone(self.points.channels, config.widths, config.depths, config.strides)

    def forward(self, batch: dict[str, Any]) -> list[Tensor]:
        """A map of each stage of `points` and `point_item` of `batch`."""
        return self.backbone(self.points(batch["points"], batch["point_item"], len(batch["ids"])))


class Head(nn.Module):
    """Heat maps and boxes of one group of classes.

    Args:
        channels: of the map that is read.
        width: of the layers between.
        classes: of the group.
    """

    def __init__(self, channels: int, width: int, classes: int):
        super().__init__()
        self.heat = nn.Sequential(conv_block(channels, width), nn.Conv2d(width, classes, 3, 1, 1))
        self.code = nn.Sequential(conv_block(channels, width), nn.Conv2d(width, CODE, 3, 1, 1))
        nn.init.constant_(self.heat[-1].bias, RARE)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.heat(x), self.code(x)


class CenterPointModel(PreTrainedModel):
    """Boxes of frames, from points alone.

    Args:
        config: of it.

    Raises:
        ConfigError: as `BevEncoder`; or classes that have no head, or two.
    """

    config_class = CenterPointConfig
    base_model_prefix = "center_point"
    main_input_name = "points"
    kind = "points"
    feature_layers = ()

    def __init__(self, config: CenterPointConfig):
        super().__init__(config)
        self.encoder = BevEncoder(config)
        self.neck = SecondNeck(config.widths, config.strides, config.neck_channels)
        #: of each head, the indices of its classes
        self.groups = groups_of(config.labels, config.tasks)
        self.shared = conv_block(self.neck.channels, config.head_channels)
        self.heads = nn.ModuleList(Head(config.head_channels, config.head_channels, len(g)) for g in self.groups)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the parts have begun by themselves."""

    def forward(self, batch: dict[str, Any]) -> Found:
        """Of a batch as `audiokd.methods.point_detr3d.frames.collate_frames` makes it."""
        features = self.neck(self.encoder(batch))
        x = self.shared(features)
        heat, code = zip(*(head(x) for head in self.heads))
        return Found(features, list(heat), list(code))

    @property
    def stride(self) -> int:
        """Cells of the grid, along a side, to one of the heat maps."""
        return self.config.strides[0]

    @torch.no_grad()
    def predict(self, frames: Sequence[Frame3d]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Boxes [N, 9] float32 (the speed is not predicted: NaN), labels [N] int64 and scores [N] float32 of each frame, by falling
        score.

        Raises:
            FrameError: a frame that cannot be used.
        """
        for frame in frames:
            check_frame(frame, len(self.config.labels))
        if not frames:
            return []
        batch = collate_frames([frame_tensors(f, self.config) for f in frames])
        batch = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        found = self(batch)
        return [as_arrays(*self.boxes_of(found, k)) for k in range(len(frames))]

    def boxes_of(self, found: Found, item: int) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [N, 7], labels [N] and scores [N] of one item of what the network said, by falling score."""
        c, parts = self.config, []
        for group, heat, code in zip(self.groups, found.heat, found.code):
            p = heat[item].float().sigmoid()
            peaks = p * (F.max_pool2d(p[None], 3, 1, 1)[0] == p)
            scores, at = peaks.flatten().topk(min(c.max_boxes, p.numel()))
            scores, at = scores[scores > c.min_score], at[scores > c.min_score]
            w, cells = p.shape[2], p.shape[1] * p.shape[2]
            kind, cell = at // cells, at % cells
            values = code[item].float().flatten(1).T[cell]
            boxes = from_code(self._in_metres(values, cell % w, cell // w))
            keep = suppressed(boxes, scores, c.nms_iou) if c.nms_iou < 1 else torch.arange(len(boxes)).to(cell)
            parts.append((boxes[keep], torch.tensor(group, device=kind.device)[kind[keep]], scores[keep]))
        boxes, labels, scores = (torch.cat(x) for x in zip(*parts))
        order = scores.argsort(descending=True, stable=True)
        return boxes[order], labels[order], scores[order]

    def _in_metres(self, values: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
        low, side = values.new_tensor(self.config.low[:2]), self.config.cell * self.stride
        return torch.cat([low + (torch.stack([columns, rows], -1) + values[:, :2]) * side, values[:, 2:]], -1)


def groups_of(labels: Sequence[str], tasks: Sequence[str]) -> list[list[int]]:
    """Indices of the classes of each head.

    Raises:
        ConfigError: a class without a head, or with two, or one that there is not.
    """
    names = [t.split() for t in tasks] or [list(labels)]
    if sorted(n for t in names for n in t) != sorted(labels):
        what = f"heads of {'; '.join(' '.join(t) for t in names)}, classes {' '.join(labels)}"
        raise ConfigError(what, where="model.tasks", fix="every class once; or leave it out: one head for all")
    return [[list(labels).index(n) for n in t] for t in names]


def as_arrays(boxes: Tensor, labels: Tensor, scores: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[N, 9] float32 with unknown speeds, [N] int64, [N] float32."""
    full = np.full((len(boxes), len(BOX)), np.nan, dtype=np.float32)
    full[:, :7] = boxes.float().cpu().numpy()
    return full, labels.cpu().numpy().astype(np.int64), scores.float().cpu().numpy()
