"""Sets of frames of drives: items.jsonl with a frame a line, classes.txt beside it.

    {"id": ..., "scene": ..., "timestamp": seconds, "points": path, "to_frame": [4x4],
     "sweeps": [{"path": ..., "age": seconds, "transform": [4x4]}],
     "cameras": [{"name": ..., "path": ..., "intrinsics": [3x3], "to_camera": [4x4], "size": [height, width]}],
     "objects": [{"label": ..., "box": [x, y, z, length, width, height, yaw, vx, vy] or null, "mark": [x, y, z] or null,
                  "num_points": ...}]}

Coordinates are those of `audiokd.data.frame3d`. `to_frame` (identity where left out) and a sweep's `transform` bring a file's
points there; `age` is how much older than the frame a sweep is. A vx or vy that is not known is null. `num_points` is how many
points of the frame's own sweep lie in the box, null where nobody counted. A path is absolute, or relative to the folder of the
file, which it never leaves. Files of points are float32: x, y, z, intensity of [0, 1] (.bin, as KITTI has it), or x, y, z,
intensity of [0, 255], ring (.pcd.bin, as nuScenes has it).

What a line lacks altogether stops the reading of the set. What is wrong with one frame's numbers or files is that frame's
`FrameError` when it is loaded (`audiokd.data.frames3d`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.classes import CLASSES, read_classes, write_classes
from audiokd.data.ids import is_legal
from audiokd.data.items import ITEMS
from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import jsonl, leads_out, sha256_bytes, write_bytes

_KEYS = ("id", "scene", "timestamp", "points", "to_frame", "sweeps", "cameras", "objects")
_FORM = 'a frame is a line {"id": ..., "scene": ..., "timestamp": ..., "points": ..., "sweeps": [], "cameras": [], "objects": []}'


@dataclass(frozen=True)
class Object3d:
    """A thing that a frame shows.

    Attributes:
        label: its class.
        box: as `audiokd.data.frame3d.BOX`, None where it is not given; NaN for a velocity that is not known.
        mark: its annotated point, None where there is none.
        num_points: of the frame's own sweep in its box; None where nobody counted.
    """

    label: str
    box: tuple[float, ...] | None = None
    mark: tuple[float, ...] | None = None
    num_points: int | None = None


@dataclass(frozen=True)
class FrameItem:
    """A line of items.jsonl. Cheap: nothing is read until `audiokd.data.frames3d.load_frame` is asked for it.

    Attributes:
        id: unique in its set.
        scene: drive that it is of.
        timestamp: seconds, on one clock for the set.
        points: file of its own sweep.
        to_frame: [4, 4] nested lists, from that file's coordinates to the frame's.
        sweeps: mappings with path, age and transform.
        cameras: mappings with name, path, intrinsics, to_camera and size.
        objects: what it shows.
        where: `file:line` that named it, for messages.
    """

    id: str
    scene: str
    timestamp: float
    points: str
    to_frame: Any = None
    sweeps: Sequence[Mapping[str, Any]] = ()
    cameras: Sequence[Mapping[str, Any]] = ()
    objects: Sequence[Object3d] = ()
    where: str = field(default="", compare=False)

    @property
    def path(self) -> str:
        """The file of its own points."""
        return self.points


def holds_frames(path: str | os.PathLike[str]) -> bool:
    """Whether the first item of a data dir, or of an items.jsonl, is a frame of a drive."""
    file = Path(path) / ITEMS if Path(path).is_dir() else Path(path)
    try:
        with open(file, encoding="utf-8") as f:
            row = json.loads(f.readline())
    except (OSError, ValueError, RecursionError):  # what is wrong with it is said by whoever reads it
        return False
    return isinstance(row, dict) and "points" in row


def read_frames(path: str | os.PathLike[str]) -> list[FrameItem]:
    """Frames in the order of the file.

    Args:
        path: data dir, or its items.jsonl.

    Raises:
        AudiokdError: no such file or no frame in it; and, with file:line, a line that is no frame: no JSON, a key that is missing
            or unknown, an illegal id, one that stands twice, a path that leaves the folder.
    """
    file = Path(path) / ITEMS if Path(path).is_dir() else Path(path)
    lines: dict[str, int] = {}
    frames = []
    for number, line in enumerate(read_utf8(file, _FORM).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            frame = _parse(json.loads(line), file.parent, where)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            what = f"no frame of a drive: {type(e).__name__} {e}"
            raise AudiokdError(what, where=where, fix=_FORM) from e
        if frame.id in lines:
            what = f"{frame.id} stands there before, in line {lines[frame.id]}"
            raise AudiokdError(what, where=where, fix="make the ids unique")
        lines[frame.id] = number
        frames.append(frame)
    if not frames:
        raise AudiokdError("holds no frame", where=str(file), fix=_FORM)
    return frames


def write_frames(folder: str | os.PathLike[str], frames: Iterable[FrameItem], classes: Sequence[str]) -> None:
    """Write a data dir: items.jsonl in the order of time, and classes.txt. Paths in the folder become relative to it.

    Raises:
        AudiokdError: no frame, two of one id, an id that is none, a label that is no class.
    """
    root = Path(folder)
    rows: dict[str, dict[str, Any]] = {}
    for frame in sorted(frames, key=lambda f: (f.timestamp, f.id)):
        where = f"{root / ITEMS}: frame {frame.id} of {frame.scene}"
        if frame.id in rows or not is_legal(frame.id):
            what = "two frames have this id" if frame.id in rows else f"{frame.id!r} cannot be an id"
            raise AudiokdError(what, where=where, fix="ids are unique, without spaces and control characters")
        if strange := sorted({o.label for o in frame.objects} - set(classes)):
            raise AudiokdError(f"no class of the set: {', '.join(strange)}", where=where, fix="map or drop them")
        row: dict[str, Any] = {k: getattr(frame, k) for k in ("id", "scene", "timestamp")}
        row["points"] = _written(frame.points, root)
        if frame.to_frame is not None:
            row["to_frame"] = _listed(frame.to_frame)
        for kind, matrices in (("sweeps", ("transform",)), ("cameras", ("intrinsics", "to_camera"))):
            row[kind] = [
                {**of, "path": _written(of["path"], root)} | {k: _listed(of[k]) for k in matrices}
                for of in getattr(frame, kind)
            ]
        row["objects"] = [_object_row(o) for o in frame.objects]
        rows[frame.id] = row
    if not rows:
        raise AudiokdError("there is no frame to write", where=str(root))
    write_classes(root / CLASSES, {c: c for c in classes})
    write_bytes(root / ITEMS, jsonl([*rows.values()]))


def read_names(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """The set's class names, whose order labels count by.

    Raises:
        AudiokdError: there is no classes.txt, or no class in it.
    """
    root = Path(folder)
    return tuple(read_classes(root if root.is_dir() else root.parent))


def frames_sha256(frames: Iterable[FrameItem], names: Sequence[str]) -> str:
    """Of what is known of a set's frames: ids, scenes, times, classes, boxes and marks, and of no path."""
    rows: list[Any] = [list(names)]
    for f in sorted(frames, key=lambda f: f.id):
        objects = [[o.label, box_row(o.box), o.mark and [*o.mark]] for o in f.objects]
        rows.append([f.id, f.scene, f.timestamp, objects])
    return sha256_bytes(*(json.dumps(r, separators=(",", ":")).encode() + b"\n" for r in rows))


def box_row(box: Sequence[float] | np.ndarray | None) -> list[float | None] | None:
    """A box as JSON has it: to a tenth of a millimetre, null for what is NaN."""
    return None if box is None else [None if v != v else round(float(v), 4) for v in box]


def _object_row(o: Object3d) -> dict[str, Any]:
    mark = None if o.mark is None else [round(float(v), 4) for v in o.mark]
    return {"label": o.label, "box": box_row(o.box), "mark": mark, "num_points": o.num_points}


def _listed(matrix: Any) -> Any:
    return np.asarray(matrix, np.float64).tolist()


def _parse(row: Any, root: Path, where: str) -> FrameItem:
    if strange := sorted(row.keys() - set(_KEYS)):
        raise ValueError(f"unknown key {', '.join(strange)}")
    if not isinstance(row["id"], str) or not is_legal(row["id"]) or not isinstance(row["scene"], str):
        raise ValueError(f"{row['id']!r} of {row['scene']!r} cannot be an id of a scene")
    given = {k: [{**of, "path": _found(of["path"], root)} for of in row.get(k, ())] for k in ("sweeps", "cameras")}
    objects = [_object(o) for o in row.get("objects", ())]
    points = _found(row["points"], root)
    return FrameItem(
        row["id"], row["scene"], float(row["timestamp"]), points, row.get("to_frame"), **given, objects=objects, where=where
    )  # fmt: skip


def _object(row: Any) -> Object3d:
    box, mark = row.get("box"), row.get("mark")
    return Object3d(
        row["label"],
        None if box is None else tuple(float("nan") if v is None and k > 6 else v for k, v in enumerate(box)),
        None if mark is None else tuple(mark),
        row.get("num_points"),
    )


def _found(path: str, root: Path) -> str:
    if os.path.isabs(path):
        return path
    if not path or leads_out(path):
        raise ValueError(f"the path {path!r} leaves {root}; give it absolute, or relative to this folder and in it")
    return str(root / path)


def _written(path: str, root: Path) -> str:
    absolute, folder = os.path.abspath(path), os.path.abspath(root)
    return os.path.relpath(absolute, folder) if absolute.startswith(os.path.join(folder, "")) else absolute
