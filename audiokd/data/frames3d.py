"""Frames of a data dir, loaded one by one: points of all sweeps in the frame's coordinates, pictures, cameras, objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.boxes3d import moved_points
from audiokd.data.frame3d import BOX, Frame3d
from audiokd.data.images import load_image
from audiokd.data.inputs import QUARANTINE, quarantined
from audiokd.data.items import Item
from audiokd.data.items3d import FrameItem, Object3d, frames_sha256, read_frames, read_names
from audiokd.errors import AudiokdError, FrameError, ImageError

#: columns of a file of points, and what full intensity is in it, by the end of its name
POINT_FILES = {".pcd.bin": (5, 255.0), ".bin": (4, 1.0)}
FAR_M = 10_000.0  # from here on a coordinate is no metres around a car
_AGAIN = "copy it again from its source, or leave the frame out"


class Frames3d(Sequence[Frame3d]):
    """The frames of a data dir in the order of time; each is loaded when it is asked for, and not kept.

    What `audiokd validate` put in quarantine is left out.

    Args:
        folder: data dir of frames (`audiokd.data.items3d`).
        size: height and width that pictures are resized to, their intrinsics with them; None leaves them, which works where
            the cameras of a frame have one size.
        range_m: least x, y, z and greatest x, y, z: points outside are dropped; None keeps all.
        num_sweeps: older sweeps to take, the youngest first; None takes all that the set has.
        with_images: whether pictures are read; without there are no cameras in a frame.

    Attributes:
        names: of the classes, in the order of labels.
        ids: of the frames.
        items: their lines.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        size: tuple[int, int] | None = None,
        range_m: Sequence[float] | None = None,
        num_sweeps: int | None = None,
        with_images: bool = True,
    ):
        root = Path(folder)
        self.names = read_names(root)
        left_out = quarantined(root if root.is_dir() else root.parent)
        found = sorted(read_frames(root), key=lambda f: (f.timestamp, f.id))
        self.items = [f for f in found if f.id not in left_out]
        if not self.items:
            fix = f"look at {root / QUARANTINE}, mend the frames and run 'audiokd validate' again"
            raise AudiokdError("every frame is in quarantine", where=str(root), fix=fix)
        self.ids = tuple(f.id for f in self.items)
        self.size, self.range_m, self.num_sweeps, self.with_images = size, range_m, num_sweeps, with_images

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        """The frame at `index`.

        Raises:
            FrameError: it cannot be used; see `load_frame`.
        """
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        return load_frame(self.items[index], self.names, self.size, self.range_m, self.num_sweeps, self.with_images)

    def __iter__(self) -> Iterator[Frame3d]:
        return (self[k] for k in range(len(self)))

    @property
    def sha256(self) -> str:
        """Of ids, classes, boxes and marks: what pseudo boxes are bound to."""
        return frames_sha256(self.items, self.names)


def load_frame(
    item: FrameItem,
    names: Sequence[str],
    size: tuple[int, int] | None = None,
    range_m: Sequence[float] | None = None,
    num_sweeps: int | None = None,
    with_images: bool = True,
) -> Frame3d:
    """Read a frame; see `Frames3d` for the options.

    Raises:
        FrameError: a file is missing, cut off or of another kind; coordinates or calibrations that are no finite numbers or
            of another shape; a rotation that is none; cameras of several sizes; a box without an extent; an object with
            neither box nor mark, or of no class; no point at all, or none in the range. Scene and frame are named.
    """
    labels, boxes, marks, boxed = _objects(item, names)
    points = [_points(item, item.points, item.to_frame, 0.0, "to_frame")]
    for k, sweep in enumerate(item.sweeps[:num_sweeps]):
        age = sweep.get("age")
        if not isinstance(age, (int, float)) or not 0 <= age < np.inf:
            raise frame_error(item, f"age of sweep {k} is {age!r}", "seconds, 0 or more")
        points.append(_points(item, sweep["path"], sweep.get("transform"), age, f"transform of sweep {k}"))
    cloud = np.concatenate(points)
    if range_m is not None:
        low, high = np.asarray(range_m[:3]), np.asarray(range_m[3:])
        kept = ((cloud[:, :3] >= low) & (cloud[:, :3] < high)).all(1)
        if not kept.any():
            what = f"none of {len(cloud)} points lies in the range {', '.join(f'{v:g}' for v in range_m)}"
            raise frame_error(item, what, "x, y, z from and to in metres; are the coordinates those of the car?")
        cloud = cloud[kept]
    cameras = item.cameras if with_images else ()
    images, intrinsics = [], []
    for camera in cameras:
        image, matrix = _picture(item, camera, size)
        images.append(image)
        intrinsics.append(matrix)
    if len({i.shape for i in images}) > 1:
        shapes = ", ".join(f"{c['name']} {i.shape[0]} x {i.shape[1]}" for c, i in zip(cameras, images))
        raise frame_error(item, f"cameras of several sizes: {shapes}", "give a size that all are brought to")
    to_camera = [matrix_of(item, c.get("to_camera"), (4, 4), f"to_camera of {c['name']}") for c in cameras]
    return Frame3d(
        item.id, item.scene, cloud, tuple(images), np.array(intrinsics).reshape(-1, 3, 3), np.array(to_camera).reshape(-1, 4, 4),
        boxes, labels, marks, boxed,
    )  # fmt: skip


def frame_error(item: FrameItem, what: str, fix: str) -> FrameError:
    """The error of a frame; `where` names its line, scene and id."""
    return FrameError(what, where=f"{item.where or item.points}: frame {item.id} of {item.scene}", fix=fix)


def matrix_of(item: FrameItem, given: Any, shape: tuple[int, int], what: str) -> np.ndarray:
    """A calibration matrix; one of 4 x 4 has to be rigid.

    Raises:
        FrameError: another shape, no numbers, no rotation, an intrinsic matrix without focal lengths.
    """
    try:
        matrix = np.array(given, np.float64)
    except (ValueError, TypeError):
        matrix = np.empty(0)
    if matrix.shape != shape or not np.isfinite(matrix).all():
        found = "no numbers" if matrix.shape == shape else f"of shape {matrix.shape}"
        raise frame_error(item, f"{what} is {found}, not {shape[0]} x {shape[1]}", "rows of finite numbers")
    if shape == (4, 4):
        turn = matrix[:3, :3]
        if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) or np.linalg.det(turn) < 0:
            raise frame_error(item, f"{what} is no rotation with a translation", "is it transposed, or an inverse?")
        if not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
            raise frame_error(item, f"{what} ends in the row {matrix[3].tolist()}", "the last row is 0 0 0 1")
    elif matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise frame_error(item, f"{what} has the focal lengths {matrix[0, 0]:g}, {matrix[1, 1]:g}", "over 0, in pixels")
    return matrix


def read_points(item: FrameItem, path: str) -> np.ndarray:
    """A file of points as float32 [P, 4], intensity in [0, 1].

    Raises:
        FrameError: missing, empty, cut off, of another kind, or coordinates that are no metres.
    """
    kind = next((of for end, of in POINT_FILES.items() if path.endswith(end)), None)
    if kind is None:
        raise frame_error(item, f"{path} is of no kind that is read", f"its name ends in {' or '.join(POINT_FILES)}")
    columns, full = kind
    try:
        data = Path(path).read_bytes()
    except OSError as e:
        what = "no such file" if isinstance(e, FileNotFoundError) else f"cannot be read ({e.strerror or e})"
        raise frame_error(item, f"{what}: {path}", "is the set whole? leave the frame out, or name another") from e
    if not data or len(data) % (4 * columns):
        what = "is empty" if not data else f"holds {len(data)} bytes, no whole number of points of {columns} float32"
        raise frame_error(item, f"{path} {what}", _AGAIN)
    points = np.frombuffer(data, "<f4").reshape(-1, columns)[:, :4].copy()
    bad = ~(np.abs(points[:, :3]) < FAR_M).all(1) | ~np.isfinite(points[:, 3])
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        what = f"{int(bad.sum())} of {len(points)} points of {path} are no place in metres, point {first}: {points[first].tolist()}"
        raise frame_error(item, what, f"NaN, infinite, or over {FAR_M:g} m: drop them, or copy the file again")
    points[:, 3] /= full
    return points


def _points(item: FrameItem, path: str, transform: Any, age: float, what: str) -> np.ndarray:
    points = read_points(item, path)
    if transform is not None:
        points = moved_points(points, matrix_of(item, transform, (4, 4), what))
    return np.concatenate([points, np.full((len(points), 1), age, np.float32)], 1)


def _picture(item: FrameItem, camera: Mapping[str, Any], size: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """A camera's picture [H, W, 3] and its intrinsics, both resized."""
    from PIL import Image

    name = camera.get("name", "a camera without a name")
    matrix = matrix_of(item, camera.get("intrinsics"), (3, 3), f"intrinsics of {name}")
    try:
        picture = load_image(Item(f"{item.id}:{name}", camera["path"]))
    except ImageError as e:
        raise frame_error(item, f"picture of {name}: {e.what} ({camera['path']})", e.fix or _AGAIN) from e
    if list(camera.get("size", ())) != [picture.height, picture.width]:
        what = f"picture of {name} is {picture.height} x {picture.width}, its line says {camera.get('size')}"
        raise frame_error(item, what, "[height, width], which the intrinsics are of")
    if size is not None and (picture.height, picture.width) != tuple(size):
        scale = np.diag([size[1] / picture.width, size[0] / picture.height, 1.0])
        picture, matrix = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR), scale @ matrix
    return np.asarray(picture), matrix


def _objects(item: FrameItem, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    count = len(item.objects)
    boxes = np.full((count, len(BOX)), np.nan, np.float32)
    marks = np.full((count, 3), np.nan, np.float32)
    labels = np.zeros(count, np.int64)
    for k, o in enumerate(item.objects):
        if o.label not in names:
            raise frame_error(item, f"object {k} is {o.label!r}, no class of the set", f"one of {', '.join(names)}")
        labels[k] = names.index(o.label)
        if o.box is None and o.mark is None:
            raise frame_error(item, f"object {k} ({o.label}) has neither a box nor a mark", "give one, or leave it out")
        if o.box is not None:
            boxes[k] = _box(item, o, k)
        if o.mark is not None:
            if len(o.mark) != 3 or not _are_numbers(o.mark):
                raise frame_error(item, f"mark of object {k} ({o.label}) is {[*o.mark]}", "x, y, z in metres")
            marks[k] = o.mark
    return labels, boxes, marks, np.array([o.box is not None for o in item.objects], bool)


def _box(item: FrameItem, o: Object3d, k: int) -> tuple[float, ...]:
    box = o.box or ()
    who = f"box of object {k} ({o.label})"
    if len(box) != len(BOX) or not _are_numbers(box[:7]) or not _are_numbers([v for v in box[7:] if v == v]):
        raise frame_error(
            item, f"{who} is {[*box]}", f"{', '.join(BOX)}: numbers; null for a velocity that is not known"
        )
    if min(box[3:6]) <= 0:
        raise frame_error(item, f"{who} has no extent: length, width, height {[*box[3:6]]}", "each over 0, in metres")
    return box


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, (int, float)) and abs(v) < FAR_M for v in values)
