"""Whether a frame of a drive can be used: its points, sweeps and pictures are read in full, what is wrong or odd is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from audiokd.data.frames3d import load_frame
from audiokd.data.items3d import FrameItem
from audiokd.errors import FrameError

ODD_M = 60.0  # from the car to an object: sets of cars end well before


@dataclass(frozen=True)
class FrameReport:
    """What one frame is. `error` is why it cannot be used, `warnings` what a person should look at.

    Attributes:
        points: of all sweeps.
        cameras: number of pictures.
        boxed: objects with a box, by label.
        marked: objects with a mark alone, by label.
    """

    item: FrameItem
    where: str
    error: str | None = None
    warnings: tuple[str, ...] = ()
    points: int = 0
    cameras: int = 0
    boxed: Mapping[str, int] = field(default_factory=dict)
    marked: Mapping[str, int] = field(default_factory=dict)


def check_frame(item: FrameItem, names: tuple[str, ...]) -> FrameReport:
    """Read everything that a frame names.

    Args:
        item: the frame.
        names: classes of its set.
    """
    where = item.where or item.points
    # any size will do: whoever trains has all pictures resized to one
    size = tuple(item.cameras[0].get("size", ())) if item.cameras else ()
    try:
        frame = load_frame(
            item, names, (size[0], size[1]) if len(size) == 2 and all(_is_size(s) for s in size) else None
        )
    except FrameError as e:
        return FrameReport(item, where, e.what)
    warnings = []
    places = np.where(frame.boxed[:, None], frame.boxes[:, :3], frame.marks)
    far = np.linalg.norm(places[:, :2], axis=1) > ODD_M
    if far.any():
        warnings.append(f"{int(far.sum())} objects are over {ODD_M:g} m away")
    both = frame.boxed & ~np.isnan(frame.marks).any(1)
    outside = both & (
        np.linalg.norm(frame.marks - frame.boxes[:, :3], axis=1) > np.linalg.norm(frame.boxes[:, 3:6], axis=1) / 2
    )
    if outside.any():
        warnings.append(f"{int(outside.sum())} marks lie outside their boxes")
    if frame.points[:, 3].min() < 0 or frame.points[:, 3].max() > 1:
        warnings.append(f"intensity from {frame.points[:, 3].min():g} to {frame.points[:, 3].max():g}, not of [0, 1]")
    labels = [Counter(o.label for o in item.objects if (o.box is not None) == has) for has in (True, False)]
    return FrameReport(item, where, None, tuple(warnings), len(frame.points), len(frame.images), *labels)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and value > 0
