"""How far turned boxes overlap, on the ground and in space: polygons clipped side by side (Sutherland and Hodgman, CACM 1974)."""

from __future__ import annotations

import torch
from torch import Tensor

from audiokd.vision.boxes3d import foot

MOST = 8  # corners of what two rectangles share


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """[N]: square metres that each of `a` and the one of `b` [N, >= 7] share on the ground."""
    if not len(a):
        return a.new_zeros(0)
    # in double: a side that two boxes share is a difference of nearly equal numbers
    mine, theirs = foot(a.double()), foot(b.double())
    origin = mine.mean(1, keepdim=True)
    polygon, clip = mine - origin, theirs - origin
    count = torch.full((len(a),), 4, device=a.device)
    polygon = torch.cat([polygon, polygon[:, :1].expand(-1, MOST - 4, -1)], 1)
    for k in range(4):
        polygon, count = _clipped(polygon, count, clip[:, k], clip[:, (k + 1) % 4])
    following = polygon[torch.arange(len(a), device=a.device)[:, None], _following(count)]
    area = _cross(polygon, following)
    real = torch.arange(MOST, device=a.device) < count[:, None]
    return ((area * real).sum(1) / 2).clamp(min=0).to(a)


def bev_iou(a: Tensor, b: Tensor) -> Tensor:
    """[N]: intersection over union on the ground of pairs; 0 where both have no area."""
    shared = overlap(a, b)
    union = a[:, 3] * a[:, 4] + b[:, 3] * b[:, 4] - shared
    return torch.where(union > 0, shared / union.clamp(min=1e-9), 0.0)


def iou_3d(a: Tensor, b: Tensor) -> Tensor:
    """[N]: intersection over union in space of pairs [N, >= 7]; 0 where both have no volume."""
    top = torch.minimum(a[:, 2] + a[:, 5] / 2, b[:, 2] + b[:, 5] / 2)
    bottom = torch.maximum(a[:, 2] - a[:, 5] / 2, b[:, 2] - b[:, 5] / 2)
    shared = overlap(a, b) * (top - bottom).clamp(min=0)
    union = a[:, 3:6].prod(1) + b[:, 3:6].prod(1) - shared
    return torch.where(union > 0, shared / union.clamp(min=1e-9), 0.0)


def bev_iou_matrix(a: Tensor, b: Tensor) -> Tensor:
    """[N, M]: of each of `a` and each of `b`; only those near enough to touch are clipped."""
    reach = (a[:, None, 3:5].norm(dim=-1) + b[None, :, 3:5].norm(dim=-1)) / 2
    near = (a[:, None, :2] - b[None, :, :2]).norm(dim=-1) < reach
    i, j = near.nonzero(as_tuple=True)
    out = a.new_zeros(len(a), len(b))
    out[i, j] = bev_iou(a[i], b[j])
    return out


def suppressed(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    """Indices of boxes that stay, by falling score: none overlaps a better one that stays by more than `most` on the ground."""
    order = scores.argsort(descending=True, stable=True)
    over = (bev_iou_matrix(boxes[order], boxes[order]) > most).cpu()
    stays: list[int] = []
    for k in range(len(order)):
        if not over[k, stays].any():
            stays.append(k)
    return order[torch.tensor(stays, dtype=torch.long, device=order.device)]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _following(count: Tensor) -> Tensor:
    """[N, MOST]: index of the corner behind each of the first `count` [N]."""
    at = torch.arange(MOST, device=count.device) + 1
    return torch.where(at < count[:, None], at, 0).clamp(max=MOST - 1)


def _clipped(polygon: Tensor, count: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """The part of convex polygons [N, MOST, 2] of `count` [N] corners that lies left of the line from `start` to `end` [N, 2]."""
    rows = torch.arange(len(polygon), device=polygon.device)[:, None]
    following = polygon[rows, _following(count)]
    real = torch.arange(MOST, device=polygon.device) < count[:, None]
    edge = (end - start)[:, None]
    here, there = (_cross(edge.expand_as(x), x - start[:, None]) for x in (polygon, following))
    inside, crosses = (here >= 0) & real, ((here >= 0) != (there >= 0)) & real
    span = here - there
    part = here / torch.where(span == 0, 1.0, span)
    cut = polygon + part[..., None] * (following - polygon)
    # each corner gives itself, if inside, and the crossing of the side behind it, if there is one, in that order
    given = torch.stack([polygon, cut], 2).flatten(1, 2)
    kept = torch.stack([inside, crosses], 2).flatten(1, 2)
    place = (kept.cumsum(1) - 1).masked_fill(~kept, MOST).clamp(max=MOST)  # what is left out goes behind the last
    out = polygon.new_zeros(len(polygon), MOST + 1, 2)
    out = out.scatter(1, place[..., None].expand_as(given), given)
    return out[:, :MOST], kept.sum(1).clamp(max=MOST)
