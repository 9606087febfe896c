"""Small drives for tests: boxes with points on their sides, ground, cameras that see coloured boxes; sets that lie in memory."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from audiokd.data.frame3d import Frame3d

NAMES = ("car", "pedestrian", "bus")
SIZES = ((4.6, 2.0, 1.7), (0.7, 0.7, 1.8), (9.0, 2.9, 3.4))
COLOURS = ((220, 40, 40), (40, 220, 40), (60, 60, 230))
RANGE = 12.0


def frame(k: int, objects: int = 3, cameras: int = 2, size: tuple[int, int] = (32, 64), dense: int = 60) -> Frame3d:
    """The k-th drive's only frame: `objects` boxes apart from one another within 12 m."""
    rng = np.random.default_rng(k)
    boxes: list[list[float]] = []
    labels: list[int] = []
    for i in range(200):
        if len(boxes) == objects:
            break
        label = int(rng.integers(2 if i > 20 else 3))
        sides = np.array(SIZES[label]) * rng.uniform(0.9, 1.1, 3)
        x, y = rng.uniform(-RANGE + 3, RANGE - 3, 2)
        if all(np.hypot(x - b[0], y - b[1]) > (sides[0] + b[3]) / 2 + 0.5 for b in boxes):
            boxes.append([x, y, sides[2] / 2 - 1.5, *sides, rng.uniform(-3, 3), np.nan, np.nan])
            labels.append(label)
    b = np.array(boxes, dtype=np.float32).reshape(-1, 9)
    points = [_surface(box, dense, rng) for box in b]
    ground = np.concatenate([rng.uniform(-RANGE - 2, RANGE + 2, (300, 2)), rng.normal(-1.5, 0.02, (300, 1))], 1)
    xyz = np.concatenate([*points, ground])
    rest = np.stack([rng.random(len(xyz)), np.zeros(len(xyz))], 1)
    cloud = np.concatenate([xyz, rest], 1).astype(np.float32)
    marks = (b[:, :3] + rng.uniform(-0.15, 0.15, (len(b), 3)) * b[:, 3:6]).astype(np.float32)
    intrinsics, to_camera = pinholes(cameras, size)
    images = tuple(_picture(b, labels, k_, t, size) for k_, t in zip(intrinsics, to_camera))
    return Frame3d(
        f"f{k:03d}", f"drive{k // 4}", cloud, images, intrinsics, to_camera, b, np.array(labels, dtype=np.int64), marks,
        np.ones(len(b), dtype=bool),
    )  # fmt: skip


def pinholes(count: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics [C, 3, 3] and poses [C, 4, 4] of cameras all around, 90 degrees wide."""
    h, w = size
    matrix = np.array([[w / 2, 0, w / 2], [0, w / 2, h / 2], [0, 0, 1]])
    poses = []
    for k in range(count):
        a = 2 * np.pi * k / count
        right, ahead = (np.sin(a), -np.cos(a), 0), (np.cos(a), np.sin(a), 0)
        turn = np.array([right, (0, 0, -1), ahead])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = turn, -turn @ np.array([0.2, 0.0, 0.3])
        poses.append(pose)
    return np.repeat(matrix[None], count, 0), np.array(poses).reshape(-1, 4, 4)


def _surface(box: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    local = rng.uniform(-0.5, 0.5, (count, 3))
    axis = rng.integers(3, size=count)
    local[np.arange(count), axis] = rng.choice([-0.5, 0.5], count)
    local *= box[3:6]
    c, s = np.cos(box[6]), np.sin(box[6])
    return np.stack([c * local[:, 0] - s * local[:, 1], s * local[:, 0] + c * local[:, 1], local[:, 2]], 1) + box[:3]


def _picture(boxes: np.ndarray, labels: Sequence[int], matrix: np.ndarray, pose: np.ndarray, size: Any) -> np.ndarray:
    """The upright rectangle of each box in its class' colour, the far ones first."""
    out = np.full((*size, 3), 120, dtype=np.uint8)
    rng = np.random.default_rng(0)
    seen = []
    for box, label in zip(boxes, labels):
        at = np.c_[_surface(box, 200, rng), np.ones(200)] @ pose[:3].T
        if at[:, 2].min() > 0.1:
            pixels = at @ matrix.T
            seen.append((at[:, 2].mean(), label, pixels[:, :2] / pixels[:, 2:]))
    for _, label, xy in sorted(seen, key=lambda s: -s[0]):
        (x0, y0), (x1, y1) = (np.clip(f(xy, 0), 0, (size[1], size[0])).astype(int) for f in (np.min, np.max))
        out[y0:y1, x0:x1] = COLOURS[label]
    return out


def without_boxes(of: Frame3d) -> Frame3d:
    """The frame with its marks alone."""
    return dataclasses.replace(of, boxes=np.full_like(of.boxes, np.nan), boxed=np.zeros_like(of.boxed))


class Thing(NamedTuple):
    """A line's object, as `audiokd.data.items3d.Object3d`."""

    label: str
    box: tuple[float, ...] | None
    mark: tuple[float, ...] | None


class Line(NamedTuple):
    """A line of a set, as `audiokd.data.items3d.FrameItem`."""

    id: str
    path: str
    where: str
    objects: tuple[Thing, ...]


class Frames(Sequence[Frame3d]):
    """A set in memory with the face of `audiokd.data.frames3d.Frames3d`."""

    def __init__(self, folder: str, frames: Sequence[Frame3d]):
        self.names, self.frames, self.ids = NAMES, frames, tuple(f.id for f in frames)
        self.items = [
            Line(
                f.id,
                f"{folder}/{f.id}.bin",
                f"{folder}/items.jsonl:{k}",
                tuple(
                    Thing(
                        NAMES[label],
                        tuple(box.tolist()) if there else None,
                        None if np.isnan(m).any() else tuple(m.tolist()),
                    )
                    for label, box, there, m in zip(f.labels, f.boxes, f.boxed, f.marks)
                ),
            )
            for k, f in enumerate(frames, 1)
        ]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(repr([(i.id, i.objects) for i in self.items]).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: Any) -> Any:
        return self.frames[index]

    def __iter__(self) -> Iterator[Frame3d]:
        return iter(self.frames)


def mark_of(box: Sequence[float], rng: np.random.Generator) -> tuple[float, ...]:
    """A point near the centre."""
    return tuple((np.asarray(box[:3]) + np.asarray(box[3:6]) * rng.uniform(-1 / 6, 1 / 6, 3)).tolist())


def in_memory(monkeypatch: pytest.MonkeyPatch, sets: dict[str, Sequence[Frame3d]], pseudo: Any = None) -> None:
    """Have the readers of frames and of pseudo boxes find `sets` by their folders, and `pseudo`."""
    frames3d, boxes, marks = (ModuleType(f"audiokd.data.{n}") for n in ("frames3d", "pseudo_boxes", "point_marks"))
    frames3d.Frames3d = lambda folder, size=None, with_images=True: Frames(folder, sets[folder])  # type: ignore[attr-defined]
    boxes.read_pseudo_boxes = lambda folder, data_sha256="", classes=(): pseudo  # type: ignore[attr-defined]
    boxes.read_about = lambda folder: {"model_sha256": f"of {folder}"}  # type: ignore[attr-defined]
    said = hashlib.sha256(repr(pseudo).encode()).hexdigest()
    boxes.boxes_sha256 = lambda folder: said  # type: ignore[attr-defined]
    marks.mark_of = mark_of  # type: ignore[attr-defined]
    for module in (frames3d, boxes, marks):
        monkeypatch.setitem(sys.modules, module.__name__, module)
