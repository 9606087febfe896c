"""What CenterPoint's maps should say of boxes (arXiv 2006.11275, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from audiokd.vision.box_code import to_code
from audiokd.vision.gaussian_heat_maps import draw_gaussians, whole_radius


class Targets(NamedTuple):
    """Of one head.

    Attributes:
        heat: [B, K_t, H, W] in [0, 1].
        item, row, column: [N] int64: the cell of each box.
        code: [N, 8] that is wanted there.
    """

    heat: Tensor
    item: Tensor
    row: Tensor
    column: Tensor
    code: Tensor


def head_targets(boxes: Tensor, labels: Tensor, item: Tensor, group: Sequence[int], config: Any, count: int) -> Targets:
    """Targets of the head of the classes `group`.

    Args:
        boxes: [N, >= 7] whose centres lie in the range.
        labels: [N].
        item: [N], whose each is.
        group: indices of classes.
        config: CenterPointConfig.
        count: B.
    """
    side = config.cell * config.strides[0]
    mine = torch.tensor([list(group).index(k) if k in group else -1 for k in range(len(config.labels))])
    kind = mine.to(labels)[labels]
    keep = kind >= 0
    boxes, item, kind = boxes[keep], item[keep], kind[keep]
    where = (boxes[:, :2] - boxes.new_tensor(config.low[:2])) / side
    shape = map_size(config)
    cell = where.floor().long().minimum(torch.tensor(shape[::-1], device=where.device) - 1)
    radius = whole_radius(boxes[:, 3] / side, boxes[:, 4] / side, config.min_overlap, config.min_radius)
    heat = draw_gaussians(cell, radius, kind, item, (count, len(group), *shape))
    code = torch.cat([where - cell, to_code(boxes)[:, 2:]], -1)
    return Targets(heat, item, cell[:, 1], cell[:, 0], code)


def object_map(boxes: Tensor, labels: Tensor, item: Tensor, config: Any, count: int) -> Tensor:
    """[B, H, W]: where objects are, whatever their class; Gaussians as wide as the mean size of each one's class asks for."""
    side = config.cell * config.strides[0]
    shape = map_size(config)
    where = ((boxes[:, :2] - boxes.new_tensor(config.low[:2])) / side).floor().long()
    sizes = boxes.new_tensor(config.class_sizes)[labels] / side
    radius = whole_radius(sizes[:, 0], sizes[:, 1], config.min_overlap, config.min_radius)
    return draw_gaussians(where, radius, torch.zeros_like(item), item, (count, 1, *shape))[:, 0]


def map_size(config: Any) -> tuple[int, int]:
    """Rows and columns of the heat maps."""
    step = config.cell * config.strides[0]
    return round((config.high[1] - config.low[1]) / step), round((config.high[0] - config.low[0]) / step)
