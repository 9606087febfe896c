"""A frame, checked, as tensors; and several of them as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.data.frame3d import BOX, Frame3d
from audiokd.errors import FrameError
from audiokd.vision.bev_augment import move_boxes, move_cameras, move_points
from audiokd.vision.bev_grid import BevGrid
from audiokd.vision.cameras import camera_matrices


def grid_of(config: Any) -> BevGrid:
    """What a model of `config` looks at."""
    return BevGrid(tuple(config.low), tuple(config.high), config.cell, config.layers)


def check_frame(frame: Frame3d, labels: int, cameras: int = 0) -> None:
    """That a frame can be used.

    Args:
        frame: of any set.
        labels: classes that there are.
        cameras: pictures that are due; 0 looks at none.

    Raises:
        FrameError: shapes that do not go together, coordinates that are no numbers, boxes without a size, labels of no class,
            pictures that are missing; scene and frame are named.
    """
    for problem, fix in _problems(frame, labels, cameras):
        raise FrameError(problem, where=f"scene {frame.scene}, frame {frame.id}", fix=fix)


def _problems(f: Frame3d, labels: int, cameras: int) -> Any:
    n = len(f.labels)
    wanted = {"points": (len(f.points), 5), "boxes": (n, len(BOX)), "marks": (n, 3), "labels": (n,), "boxed": (n,)}
    for name, shape in wanted.items():
        if (found := np.shape(getattr(f, name))) != shape:
            yield f"{name} are {list(found)}, {list(shape)} is due", "see audiokd.data.frame3d.Frame3d"
            return
    if bad := int((~np.isfinite(f.points)).any(1).sum()):
        yield (
            f"{bad} of {len(f.points)} points have a coordinate that is no number",
            "leave them out of the sweep's file",
        )
    boxes = f.boxes[f.boxed, :7]
    if bad := int((~np.isfinite(boxes)).any(1).sum()):
        yield f"{bad} of {len(boxes)} boxes have a coordinate that is no number", "mark them as not boxed"
    if bad := int((boxes[:, 3:6] <= 0).any(1).sum()):
        yield f"{bad} of {len(boxes)} boxes have no size", "each side is above 0 metres"
    nan = np.isnan(f.marks)
    if bad := int(((nan.any(1) & ~nan.all(1)) | np.isinf(f.marks).any(1)).sum()):
        yield f"{bad} of {n} marks have a coordinate that is no number", "all three are NaN where there is no mark"
    if n and (f.labels.min() < 0 or f.labels.max() >= labels):
        yield (
            f"labels {sorted(set(f.labels.tolist()))}, there are {labels} classes",
            "labels are indices of class names",
        )
    if not cameras:
        return
    if len(f.images) != cameras:
        fix = "a missing one stops a frame: leave it out"
        if f.images:
            fix += f"; a teacher of a set that has {len(f.images)} a frame: --teacher.cameras {len(f.images)}"
        yield f"pictures of {len(f.images)} cameras, {cameras} are due", fix
        return
    shapes = {np.shape(i) for i in f.images}
    first = next(iter(shapes))
    if len(shapes) > 1 or len(first) != 3 or first[2] != 3:
        yield f"pictures of shapes {sorted(map(list, shapes))}", "all are [H, W, 3] of one size"
    for name, due in (("intrinsics", (cameras, 3, 3)), ("to_camera", (cameras, 4, 4))):
        found = getattr(f, name)
        if np.shape(found) != due:
            yield f"{name} are {list(np.shape(found))}, {list(due)} is due", "one matrix a camera"
        elif not np.isfinite(found).all():
            yield f"{name} have values that are no numbers", "calibrate the camera, or leave the frame out"


def frame_tensors(frame: Frame3d, config: Any, augment: Tensor | None = None) -> dict[str, Any]:
    """A checked frame as a model of `config` sees it.

    Args:
        frame: that `check_frame` let pass.
        config: of a detector.
        augment: [4, 4] that moves the whole scene (`audiokd.vision.bev_augment.augmentation`).

    Returns:
        `id`; `points` [P, 5] within the range, and `outside`, how many were not; of a model with cameras `images` uint8
        [C, 3, H, W] and `matrices` [C, 3, 4] to their pixels.
    """
    points = torch.from_numpy(np.ascontiguousarray(frame.points, dtype=np.float32))
    if augment is not None:
        points = move_points(points.double(), augment).float()
    inside = grid_of(config).inside(points)
    out: dict[str, Any] = {"id": frame.id, "points": points[inside], "outside": int((~inside).sum())}
    if not getattr(config, "cameras", 0):
        return out
    size = tuple(config.camera_size)
    images = torch.from_numpy(np.stack(frame.images)).permute(0, 3, 1, 2)
    intrinsics = torch.from_numpy(np.asarray(frame.intrinsics, dtype=np.float64)).clone()
    if (there := tuple(images.shape[-2:])) != size:
        images = F.interpolate(images.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
        intrinsics[:, 0] *= size[1] / there[1]
        intrinsics[:, 1] *= size[0] / there[0]
    to_camera = torch.from_numpy(np.asarray(frame.to_camera, dtype=np.float64))
    if augment is not None:
        to_camera = move_cameras(to_camera, augment)
    return out | {"images": images.contiguous(), "matrices": camera_matrices(intrinsics, to_camera).float()}


def objects_within(
    grid: BevGrid, boxes: np.ndarray, labels: np.ndarray, marks: np.ndarray, augment: Tensor | None = None
) -> dict[str, Tensor]:
    """Boxes [N, 7], labels [N] and marks [N, 3] of those whose centre, and whose mark if any, are in the range once moved."""
    b, m = torch.from_numpy(boxes[:, :7].astype(np.float64)), torch.from_numpy(marks.astype(np.float64))
    if augment is not None:
        b, m = move_boxes(b, augment), move_points(m, augment)
    b, m = b.float(), m.float()
    keep = grid.inside(b) & (grid.inside(m) | m.isnan().all(-1))
    return {"boxes": b[keep], "labels": torch.from_numpy(labels.astype(np.int64))[keep], "marks": m[keep]}


def collate_frames(rows: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """A batch of the rows that are there: `ids`, `points` with `point_item`; what all have stacked; objects one after the other.

    `objects` is [N] int64, whose item each of `boxes`, `labels`, `marks` is. Second views (`weak`) are a batch in the batch.
    """
    found = [r for r in rows if r is not None]
    batch: dict[str, Any] = {"ids": [r["id"] for r in found]}
    if not found:
        return batch
    batch |= {"points": torch.cat([r["points"] for r in found]), "point_item": _whose(found, "points")}
    batch["outside"] = torch.tensor([r["outside"] for r in found])
    for name in ("images", "matrices", "augment"):
        if name in found[0]:
            batch[name] = torch.stack([r[name] for r in found])
    for name in ("boxes", "labels", "marks"):
        if name in found[0]:
            batch[name] = torch.cat([r[name] for r in found])
            batch["objects"] = _whose(found, name)
    if "weak" in found[0]:
        batch["weak"] = collate_frames([r["weak"] for r in found])
    return batch


def _whose(rows: Sequence[dict[str, Any]], name: str) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(r[name]) for r in rows]))
