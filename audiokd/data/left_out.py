"""Frames that a reader of another layout cannot use: each is named, the others are written, and too many of them are an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from audiokd.data.error_log import ERRORS
from audiokd.data.items3d import FrameItem, write_frames
from audiokd.errors import AudiokdError, FrameError
from audiokd.files import jsonl, write_bytes

MAX_ERROR_RATE = 0.01
_SHOWN = 10  # that are named at the end
_T = TypeVar("_T")


def read_or_note(read: Callable[[], _T], scene: str, frame: str, errors: list[FrameError]) -> _T | None:
    """What `read` gives; where it cannot, None, and a FrameError with scene and frame at the end of `errors`."""
    where = f"scene {scene}, frame {frame}"
    try:
        return read()
    except AudiokdError as e:
        errors.append(FrameError(e.what, where=": ".join(w for w in (where, e.where) if w), fix=e.fix))
    except (KeyError, TypeError, ValueError, IndexError) as e:
        errors.append(FrameError(f"lacks what a frame should have: {type(e).__name__} {e}", where=where))
    return None


def write_set(
    out: str | os.PathLike[str],
    frames: Sequence[FrameItem],
    classes: Sequence[str],
    errors: Sequence[FrameError],
    max_error_rate: float,
) -> None:
    """Write the data dir of `frames`, and OUT/errors.jsonl of those that are not among them.

    Raises:
        AudiokdError: there is no frame, or too many are left out; as `write_frames`.
    """
    if errors and not frames:
        raise AudiokdError(f"not one of {len(errors)} frames can be used; first: {errors[0]}", where=str(out))
    write_frames(out, frames, classes)
    path, count = Path(out) / ERRORS, len(frames) + len(errors)
    if errors:
        write_bytes(path, jsonl([{"where": e.where, "error": e.what} for e in errors]))
    else:
        path.unlink(missing_ok=True)
    print(f"{out}: {len(frames)} frames, {sum(len(f.objects) for f in frames)} objects, {len(errors)} frames left out")
    for e in errors[:_SHOWN]:
        print(f"  left out: {e.where}: {e.what}")
    if len(errors) > max_error_rate * count:
        what = f"{len(errors)} of {count} frames cannot be used, more than --max_error_rate {max_error_rate:g}"
        raise AudiokdError(what, where=str(out), fix=f"see {path}; the others are written")
