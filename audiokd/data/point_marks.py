r"""Point annotations from boxes, as Point-DETR3D simulates them, and sets of which the first frames alone have boxes.

    python -m audiokd.data.point_marks data/train data/train-05 --rate 0.05 [--seed 0]

The annotated point of a box with centre c and dimensions d (length, width, height, along the axes of the frame: the official
code does not turn them by the yaw) is

.. math:: p = c + \tfrac{1}{2} d \odot (2u - 1) \rho, \quad \rho = 1/3, \quad
          u \sim \mathrm{TruncNormal}(\mu = 0.5, \sigma = 0.3, [0, 1]) \text{ per axis}

In a set of rate r the first int(r N) of its N frames in the order of time have boxes and marks, the others marks alone.
OUT/regime.json says which.

Source: arXiv 2403.15317, official code github.com/Irvingao/Point-DETR3D (LoadPointAnnotations, generate_pseudo_labels).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.crops import rng_of
from audiokd.data.items3d import FrameItem, Object3d, frames_sha256, read_frames, read_names, write_frames
from audiokd.data.mark_draw import MEAN, RHO, STD, draw_within
from audiokd.data.regime import REGIME
from audiokd.errors import AudiokdError
from audiokd.files import sha256_bytes, write_json


def mark_of(box: Sequence[float], rng: np.random.Generator) -> tuple[float, ...]:
    """An annotated point of a box (`audiokd.data.frame3d.BOX`)."""
    u = draw_within(3, rng)
    return tuple((np.asarray(box[:3]) + np.asarray(box[3:6]) / 2 * (2 * u - 1) * RHO).tolist())


def marked(frame: FrameItem, seed: int, with_boxes: bool) -> FrameItem:
    """A frame whose objects each have a mark; it depends on the seed, the frame's id and the object's number alone.

    Raises:
        AudiokdError: an object without a box, or whose box is no numbers.
    """
    objects = []
    for k, o in enumerate(frame.objects):
        if o.box is None or not np.isfinite(o.box[:6]).all():
            what = f"object {k} ({o.label}) of frame {frame.id} of {frame.scene} has no box to mark"
            raise AudiokdError(what, where=frame.where, fix="marks are simulated from boxes: give the whole set")
        mark = mark_of(o.box, rng_of(seed, "mark", frame.id, k))
        objects.append(Object3d(o.label, o.box if with_boxes else None, mark, o.num_points))
    return replace(frame, objects=tuple(objects))


def weaken(frames: Sequence[FrameItem], rate: float, seed: int) -> list[FrameItem]:
    """Frames in the order of time, of which the first int(rate * N) keep their boxes; all have marks.

    Raises:
        AudiokdError: a rate that is none, or that leaves no frame with boxes; an object without a box.
    """
    if not 0 < rate <= 1:
        raise AudiokdError(f"a rate of {rate:g}", fix="over 0 and up to 1")
    count = int(rate * len(frames) + 1e-9)  # 0.05 * 300 is 15, whatever the float says
    if not count:
        raise AudiokdError(f"{rate:g} of {len(frames)} frames leaves none with boxes", fix="a higher rate")
    in_time = sorted(frames, key=lambda f: (f.timestamp, f.id))
    return [marked(f, seed, k < count) for k, f in enumerate(in_time)]


def write_weak_set(data: str | Path, out: str | Path, rate: float, seed: int = 0) -> None:
    """Write OUT, the set of `data` with marks and with boxes of the first frames alone, and OUT/regime.json.

    Raises:
        AudiokdError: as `weaken`; as `read_frames`.
    """
    names = read_names(data)
    frames = weaken(read_frames(data), rate, seed)
    write_frames(out, frames, names)
    again = read_frames(out)
    boxed = [f for f in again if any(o.box is not None for o in f.objects)]
    about: dict[str, Any] = {
        "setting": "inductive",
        "steps": [{"name": "annotation", "labelled": _summary(boxed), "pointed": _summary(again)}],
        "annotation": {
            "rate": rate, "seed": seed, "rho": RHO, "mean": MEAN, "std": STD,
            "boxed_frames": int(rate * len(frames) + 1e-9), "frames": len(frames),
        },
        "sha256": frames_sha256(again, names),
    }  # fmt: skip
    write_json(Path(out) / REGIME, about)
    print(f"{out}: {len(frames)} frames, the first {about['annotation']['boxed_frames']} with boxes, all with marks")


def _summary(frames: Sequence[FrameItem]) -> dict[str, Any]:
    ids = sorted(f.id for f in frames)
    labels = Counter(o.label for f in frames for o in f.objects)
    return {"count": len(ids), "sha256": sha256_bytes("".join(f"{i}\n" for i in ids).encode()), "labels": dict(labels)}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="point annotations from boxes; boxes of the first frames alone")
    parser.add_argument("data", help="data dir of frames with boxes")
    parser.add_argument("out", help="data dir to write")
    parser.add_argument("--rate", type=float, required=True, help="share of frames, the first in time, that keep boxes")
    parser.add_argument("--seed", type=int, default=0, help="of the marks")
    args = parser.parse_args(argv)
    write_weak_set(args.data, args.out, args.rate, args.seed)


if __name__ == "__main__":
    main()
