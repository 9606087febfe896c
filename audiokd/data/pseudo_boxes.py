"""Boxes that a model found in the frames of a set: plain JSON lines, a shard a file, bound to the model and to the set.

    OUT/boxes.json          model_sha256, data_sha256, classes, frames, shard_size, turn_degrees;
                            per_mark: whether box i is of the frame's i-th object that has a mark;
                            range_m: least and greatest [x, y] that the model looks at, or null
    OUT/boxes-00000.jsonl   {"id": ..., "boxes": [{"label": ..., "box": [9 numbers], "score": ...}]}
                            {"id": ..., "where": ..., "error": ...}                                   of a frame that cannot be used
    OUT/errors.jsonl        those rows of all shards, where there are any

Boxes are as `audiokd.data.frame3d.BOX` has them; null for a velocity that is not known. A shard that stands is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audiokd.data.error_log import ERRORS
from audiokd.data.frame3d import BOX
from audiokd.data.items3d import box_row
from audiokd.errors import AudiokdError, ConfigError
from audiokd.files import jsonl, sha256_bytes, write_bytes, write_json

ABOUT = "boxes.json"
_MAKE = "make them anew: audiokd detect3d MODEL DATA OUT"


class Found(NamedTuple):
    """Boxes of one frame: [N, 9] float32, labels [N] int64 as the set's classes count, scores [N] float32."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class PseudoBoxWriter:
    """A folder of found boxes, written shard by shard; what stands of the same model and set is kept.

    Args:
        folder: to write.
        model_sha256: of the model that finds them.
        data_sha256: of the set (`Frames3d.sha256`).
        classes: names, as labels count.
        ids: of the frames, in order.
        shard_size: frames a shard.
        turn_degrees: by which each scene was turned before the model saw it.
        per_mark: it gives one box for each object that has a mark, in their order.
        range_m: least and greatest x and y that it looks at; () is not known.

    Raises:
        ConfigError: the folder holds boxes of another model, set, shard size or turn.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model_sha256: str,
        data_sha256: str,
        classes: Sequence[str],
        ids: Sequence[str],
        shard_size: int = 100,
        turn_degrees: float = 0.0,
        per_mark: bool = False,
        range_m: Sequence[Sequence[float]] = (),
    ):
        self.folder, self.classes, self.ids, self.size = Path(folder), tuple(classes), tuple(ids), shard_size
        about = {
            "model_sha256": model_sha256,
            "data_sha256": data_sha256,
            "classes": [*classes],
            "frames": len(self.ids),
            "shard_size": shard_size,
            "turn_degrees": turn_degrees,
        }
        # both are the model's own: a folder that says nothing of them is no other one
        more = {"per_mark": per_mark, "range_m": [[*corner] for corner in range_m] or None}
        about |= more
        if (self.folder / ABOUT).exists():
            old = more | _about(self.folder)
            differ = [f"  {k}: {old.get(k)} there, {v} now" for k, v in about.items() if old.get(k) != v]
            if differ:
                fix = "give another folder, or the same model, set and options"
                raise ConfigError("made another way:\n" + "\n".join(differ), where=str(self.folder / ABOUT), fix=fix)
        write_json(self.folder / ABOUT, about)

    @property
    def shards(self) -> list[int]:
        """Numbers of all shards."""
        return [*range(-(-len(self.ids) // self.size))]

    def ids_of(self, shard: int) -> tuple[str, ...]:
        """The frames of a shard."""
        return self.ids[shard * self.size : (shard + 1) * self.size]

    def done(self, shard: int) -> bool:
        """Whether a shard is written."""
        return _shard(self.folder, shard).exists()

    def write(self, shard: int, found: Mapping[str, Found], errors: Mapping[str, AudiokdError]) -> None:
        """Write a shard, whole.

        Args:
            shard: its number.
            found: by frame.
            errors: of frames that cannot be used; each frame of the shard is in one of both.
        """
        rows: list[dict[str, Any]] = []
        for name in self.ids_of(shard):
            if name in errors:
                e = errors[name]
                place, _, rest = (e.where or "").partition(": ")  # a file below a folder that others do not have
                rows.append({"id": name, "where": f"{os.path.basename(place)}: {rest}", "error": e.what})
                continue
            of = found[name]
            boxes = [
                {"label": self.classes[label], "box": box_row(box), "score": float(f"{score:.6g}")}
                for box, label, score in zip(of.boxes, of.labels, of.scores)
            ]
            rows.append({"id": name, "boxes": boxes})
        write_bytes(_shard(self.folder, shard), jsonl(rows))

    def finish(self) -> list[dict[str, Any]]:
        """Write errors.jsonl of all shards where there are any; its rows."""
        rows = [r for shard in self.shards for r in _rows(_shard(self.folder, shard)) if "error" in r]
        if rows:
            write_bytes(self.folder / ERRORS, jsonl(rows))
        else:
            (self.folder / ERRORS).unlink(missing_ok=True)
        return rows


def read_pseudo_boxes(
    folder: str | os.PathLike[str],
    model_sha256: str = "",
    data_sha256: str = "",
    classes: Sequence[str] = (),
) -> dict[str, Found]:
    """Boxes by frame; frames that could not be used are not there.

    Args:
        folder: as `PseudoBoxWriter` leaves it.
        model_sha256: of the teacher that they have to be of; "" takes any.
        data_sha256: of the set that they have to be of (`Frames3d.sha256`); "" takes any.
        classes: that labels are to count by; () those of the folder.

    Raises:
        AudiokdError: no such folder, one that is not finished, one of another teacher or set, a class that is none, a row
            (file:line) that is none of a frame's or has a box without an extent.
    """
    root = Path(folder)
    about = _about(root)
    for key, wanted, whose in (
        ("model_sha256", model_sha256, "another teacher"),
        ("data_sha256", data_sha256, "another set, or other annotations of it"),
    ):
        if wanted and about.get(key) != wanted:
            what = f"boxes of {whose}: {key} {str(about.get(key))[:12]}..., wanted {wanted[:12]}..."
            raise AudiokdError(what, where=str(root), fix=_MAKE)
    names = tuple(classes) or tuple(about["classes"])
    count = -(-about["frames"] // about["shard_size"])
    if lacking := [k for k in range(count) if not _shard(root, k).exists()]:
        what = f"{len(lacking)} of {count} shards are not there: the run was not finished"
        raise AudiokdError(what, where=str(root), fix="run the same audiokd detect3d again: it goes on from there")
    found: dict[str, Found] = {}
    for k in range(count):
        path = _shard(root, k)
        for number, row in enumerate(_rows(path), 1):
            if "error" in row:
                continue
            try:
                found[row["id"]] = _found(row["boxes"], names)
            except (KeyError, ValueError, TypeError) as e:
                what = f"no boxes of a frame: {type(e).__name__} {e}"
                raise AudiokdError(what, where=f"{path}:{number}", fix=_MAKE) from e
    return found


def boxes_sha256(folder: str | os.PathLike[str]) -> str:
    """Of all that a finished folder says of frames: its files of boxes, one after another."""
    root = Path(folder)
    about = _about(root)
    count = -(-about["frames"] // about["shard_size"])
    return sha256_bytes(*(_shard(root, k).read_bytes() for k in range(count)))


def read_about(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What boxes.json of a folder says.

    Raises:
        AudiokdError: there is none, or it is none.
    """
    return _about(Path(folder))


def _found(rows: Iterable[Mapping[str, Any]], names: tuple[str, ...]) -> Found:
    boxes, labels, scores = [], [], []
    for row in rows:
        box = [np.nan if v is None and k > 6 else float(v) for k, v in enumerate(row["box"])]
        if len(box) != len(BOX) or not np.isfinite(box[:7]).all() or min(box[3:6]) <= 0:
            raise ValueError(f"{row['box']} is no box")
        boxes.append(box)
        labels.append(names.index(row["label"]))
        scores.append(float(row["score"]))
    return Found(
        np.array(boxes, np.float32).reshape(-1, len(BOX)), np.array(labels, np.int64), np.array(scores, np.float32)
    )


def _shard(folder: Path, number: int) -> Path:
    return folder / f"boxes-{number:05d}.jsonl"


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as e:
        raise AudiokdError(
            f"not JSON: {e}", where=str(path), fix="remove this file and run audiokd detect3d again"
        ) from e


def _about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if (
            isinstance(about, dict)
            and {"model_sha256", "data_sha256", "classes", "frames", "shard_size"} <= about.keys()
        ):
            return about
        raise ValueError("keys are missing")
    except OSError as e:
        raise AudiokdError("no boxes here", where=str(path), fix="give what 'audiokd detect3d' wrote") from e
    except ValueError as e:
        raise AudiokdError(f"not about boxes: {e}", where=str(path), fix=_MAKE) from e
