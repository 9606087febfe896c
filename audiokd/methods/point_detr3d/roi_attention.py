"""A query reads maps of the ground and of pictures around its point, and all over its region (arXiv 2403.15317, deformable RoI
cross-modal fusion)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from audiokd.nn.deformable_attention import begin_alike, by_head, deformable_gather
from audiokd.vision.bev_grid import BevGrid
from audiokd.vision.boxes3d import corners, placed, roi_grid
from audiokd.vision.cameras import project

CLOSE = 0.1  # metres: corners of a region that are nearer to a camera, or behind it, are taken to be there


class Views(NamedTuple):
    """Pictures' maps.

    Attributes:
        maps: of each level [B, C, D, h, w].
        matrices: [B, C, 3, 4], to pixels.
        size: height and width of a picture.
    """

    maps: list[Tensor]
    matrices: Tensor
    size: tuple[int, int]


class GroundReader(nn.Module):
    """Samples of the maps of the ground.

    Args:
        config: PointDetr3dConfig.
        levels: maps.
        grid: what they cover.
    """

    def __init__(self, config: Any, levels: int, grid: BevGrid):
        super().__init__()
        d, h, p = config.dim, config.heads, config.samples
        self.heads, self.levels, self.samples, self.grid, self.side = h, levels, p, grid, config.roi_side
        self.value = nn.Linear(d, d)
        self.offsets, self.logits = nn.Linear(d, h * levels * p * 2), nn.Linear(d, h * levels * p)
        begin_alike(self.offsets, _rays(h, levels, p, 2))
        begin_alike(self.logits)
        if self.side:
            self.roi_offsets, self.roi_logits = nn.Linear(d, h * levels * 2), nn.Linear(d, self.side**2)
            begin_alike(self.roi_offsets)
            begin_alike(self.roi_logits)

    def forward(self, x: Tensor, points: Tensor, boxes: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """[B, Q, D].

        Args:
            x: [B, Q, D] queries with their positions.
            points: [B, Q, 3] metres.
            boxes: [B, Q, 7] regions.
            maps: of each level [B, D, H, W].
        """
        b, q, _ = x.shape
        shape = (b, q, self.heads, self.levels)
        sizes = x.new_tensor([[m.shape[3], m.shape[2]] for m in maps])[:, None]  # [levels, 1, 2]
        start = self.grid.relative(points[..., :2])[:, :, None, None, None]
        places = start + self.offsets(x).view(*shape, self.samples, 2) / sizes
        weights = self.logits(x).view(b, q, self.heads, -1).softmax(-1).view(*shape, self.samples)
        if self.side:
            cells = self.grid.relative(placed(boxes, roi_grid(self.side, x)))[:, :, None, None]
            roi = cells + self.roi_offsets(x).view(*shape, 1, 2) / sizes
            share = self.roi_logits(x).softmax(-1)[:, :, None, None] / self.levels
            places, weights = torch.cat([places, roi], 4), torch.cat([weights, share.expand(*shape, -1)], 4)
        return deformable_gather([by_head(self.value, m, self.heads) for m in maps], places, weights)


class ViewReader(nn.Module):
    """Samples of pictures' maps, each camera weighed by the query.

    Args:
        config: PointDetr3dConfig.
        levels: maps of a picture.
    """

    def __init__(self, config: Any, levels: int):
        super().__init__()
        d, h, p = config.dim, config.heads, config.samples
        self.heads, self.levels, self.samples, self.side = h, levels, p, config.roi_side
        self.value, self.cameras = nn.Linear(d, d), nn.Linear(d, config.cameras)
        self.offsets, self.logits = nn.Linear(d, h * p * 3), nn.Linear(d, h * levels * p)
        begin_alike(self.offsets, _rays(h, 1, p, 3) / p)  # a metre at most
        begin_alike(self.logits)
        if self.side:
            self.roi_offsets, self.roi_logits = nn.Linear(d, h * levels * 2), nn.Linear(d, self.side**2)
            begin_alike(self.roi_offsets)
            begin_alike(self.roi_logits)

    def forward(self, x: Tensor, points: Tensor, boxes: Tensor, views: Views) -> Tensor:
        """[B, Q, D], as of `GroundReader`."""
        (b, q, d), c = x.shape, views.matrices.shape[1]
        h, levels = self.heads, self.levels
        bounds = x.new_tensor([views.size[1], views.size[0]])
        around = points[:, :, None, None] + self.offsets(x).view(b, q, h, self.samples, 3)
        seen = project(around.flatten(1, 3)[:, None], views.matrices, views.size)
        places = (seen.pixels / bounds).view(b, c, q, h, 1, -1, 2).expand(-1, -1, -1, -1, levels, -1, -1)
        weights = self.logits(x).view(b, q, h, -1).softmax(-1).view(b, 1, q, h, levels, -1)
        weights = weights * seen.visible.view(b, c, q, h, 1, -1)
        if self.side:
            at, visible = region_in_views(boxes, views, roi_grid(self.side, x))
            sizes = x.new_tensor([[m.shape[4], m.shape[3]] for m in views.maps])[:, None]
            moved = self.roi_offsets(x).view(b, 1, q, h, levels, 1, 2) / sizes
            roi = (at / bounds)[:, :, :, None, None] + moved
            share = self.roi_logits(x).softmax(-1)[:, None, :, None, None] / levels
            share = share * visible[:, :, :, None, None, None]
            places, weights = (
                torch.cat([places, roi], 5),
                torch.cat([weights, share.expand(-1, -1, -1, h, levels, -1)], 5),
            )
        maps = [by_head(self.value, m.flatten(0, 1), h) for m in views.maps]
        read = deformable_gather(maps, places.flatten(0, 1), weights.flatten(0, 1)).view(b, c, q, d)
        return (read * self.cameras(x).sigmoid().transpose(1, 2)[..., None]).sum(1)


class RoIAttention(nn.Module):
    """Ground and pictures, read and fused.

    Args:
        config: PointDetr3dConfig.
        levels: maps of the ground.
        grid: what they cover.
    """

    def __init__(self, config: Any, levels: int, grid: BevGrid):
        super().__init__()
        d = config.dim
        self.ground = GroundReader(config, levels, grid)
        if config.cameras:
            self.views = ViewReader(config, config.image_levels)
            self.fuse: nn.Module = nn.Sequential(nn.Linear(2 * d, d), nn.LayerNorm(d), nn.ReLU(), nn.Linear(d, d))
        else:
            self.fuse = nn.Linear(d, d)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        query: Tensor,
        position: Tensor,
        points: Tensor,
        boxes: Tensor,
        maps: Sequence[Tensor],
        views: Views | None,
    ) -> Tensor:
        """[B, Q, D]: the query and what it read."""
        x = query + position
        read = self.ground(x, points, boxes, maps)
        if views is not None:
            read = torch.cat([self.views(x, points, boxes, views), read], -1)
        return query + self.dropout(self.fuse(read))


def region_in_views(boxes: Tensor, views: Views, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Where the grid of a region lies in pictures: over the upright rectangle of its eight corners, around its centre.

    Args:
        boxes: [B, Q, 7].
        views: of B items and C cameras.
        grid: [G, 2] of a box of sides 1.

    Returns:
        Pixels [B, C, Q, G, 2], and whether a camera sees the centre [B, C, Q].
    """
    b, q, _ = boxes.shape
    centre = project(boxes[:, None, :, :3], views.matrices, views.size)
    at = corners(boxes).flatten(1, 2)[:, None] @ views.matrices[..., :3].transpose(-1, -2)
    at = at + views.matrices[:, :, None, :, 3]
    # a corner that is too near is moved along the optical axis, which is (cx, cy, 1) once it went through the intrinsics
    turn, ahead = views.matrices[..., :3], views.matrices[..., 2, :3]
    axis = (turn @ ahead[..., None])[..., 0] / ahead.square().sum(-1, keepdim=True)
    at = at + axis[:, :, None] * (CLOSE - at[..., 2:]).clamp(min=0)
    pixels = (at[..., :2] / at[..., 2:].clamp(min=CLOSE)).view(b, -1, q, 8, 2)
    bounds = pixels.new_tensor([views.size[1], views.size[0]])
    sides = torch.minimum(pixels.amax(3) - pixels.amin(3), bounds)
    return centre.pixels[:, :, :, None] + grid * sides[:, :, :, None], centre.visible


def _rays(heads: int, levels: int, samples: int, axes: int) -> Tensor:
    """[heads, levels, samples, axes]: each head looks its own way, each sample a step farther (arXiv 2010.04159, A.4)."""
    angle = torch.arange(heads) * 2 * math.pi / heads
    ray = torch.stack([angle.cos(), angle.sin(), torch.zeros(heads)][:axes], -1)
    ray = ray / ray.abs().amax(-1, keepdim=True)
    return (
        (ray[:, None, None] * torch.arange(1, samples + 1)[:, None]).expand(heads, levels, samples, axes).contiguous()
    )
