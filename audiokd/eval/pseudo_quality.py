"""How good the boxes are that a teacher made of annotated points, or a detector found: object by object, by distance and points.

Each true object is compared with its own box. Boxes that were made of marks are paired in order (the query of object i gives box
i) where every frame has as many as objects; else each found box, the best-scored first, takes the nearest free object of its class
within 2 m. Only then are objects left out, by their true places: those outside the model's range, of which it sees nothing
(`outside` counts them), and those farther from the car than is asked for.

`iou` is the mean 3-D IoU over objects, 0 for one without a box; `centre_error_m` the mean distance of centres in x, y, z over
those with one; `recall` the share of objects whose box has an IoU of 0.5 or more, `recall_2m` of those whose box is within 2 m in
x and y; `label_accuracy` the share of boxes that have the class of their object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from audiokd.eval.center_ap import Boxes

Iou = Callable[[np.ndarray, np.ndarray], np.ndarray]
LIMIT_M = 2.0
GOOD_IOU = 0.5
#: of the points of the frame's own sweep in a true box
POINTS = {"0-4": (0, 5), "5-19": (5, 20), "20+": (20, np.inf)}


def score_pseudo(
    truth: Mapping[str, Boxes],
    found: Mapping[str, Boxes],
    names: Sequence[str],
    iou: Iou,
    bands_m: tuple[float, float],
    per_mark: bool = False,
    within_m: float = 0.0,
    inside: Callable[[np.ndarray], np.ndarray] | None = None,
) -> dict[str, Any]:
    """Compare true objects with found boxes.

    Args:
        truth: by frame.
        found: by frame; frames that are not there are left out.
        names: of the classes.
        iou: 3-D IoU of pairs of boxes [N, 9] and [N, 9]: [N].
        bands_m: where the second and the third band of distance from the car begin.
        per_mark: whether found boxes were made of marks, one for each object.
        within_m: true objects that are farther from the car do not count; 0: all do.
        inside: [N] bool of true boxes [N, 9]: which lie in the model's range; None: all do.

    Returns:
        `all`, and below `by_range`, `by_points` (of objects whose points were counted) and `by_class` each part that there is:
        objects, boxes, iou, centre_error_m, recall, recall_2m, label_accuracy; `in_order`, how they were paired; `outside`, the
        number of objects that are left out because they are outside the range.
    """
    ids = [i for i in truth if i in found]
    in_order = per_mark and all(len(truth[i].boxes) == len(found[i].boxes) for i in ids)
    rows: list[tuple[float, ...]] = []
    in_range: list[bool] = []
    for i in ids:
        rows += _objects(truth[i], found[i], iou, in_order)
        in_range += [True] * len(truth[i].boxes) if inside is None else inside(truth[i].boxes).tolist()
    table, seen = np.array(rows, float).reshape(-1, 7), np.array(in_range, bool)
    asked = table[:, 0] <= (within_m or np.inf)
    outside, table = int((asked & ~seen).sum()), table[asked & seen]
    far, points, label = table[:, 0], table[:, 1], table[:, 2]
    near, middle = bands_m
    bands = {f"0-{near:g} m": (0.0, near), f"{near:g}-{middle:g} m": (near, middle), f"{middle:g}+ m": (middle, np.inf)}
    parts = {
        "by_range": {n: (far >= low) & (far < high) for n, (low, high) in bands.items()},
        "by_points": {n: (points >= low) & (points < high) for n, (low, high) in POINTS.items()},
        "by_class": {n: label == k for k, n in enumerate(names)},
    }
    result: dict[str, Any] = {"all": _summary(table), "in_order": in_order, "outside": outside, "frames": len(ids)}
    return result | {k: {n: _summary(table[of]) for n, of in part.items() if of.any()} for k, part in parts.items()}


def _objects(truth: Boxes, found: Boxes, iou: Iou, in_order: bool) -> list[tuple[float, ...]]:
    """Of each object: distance, points, label, IoU, distance of centres in x y z and in x y, whether the class is right."""
    count = len(truth.boxes)
    pairs = {k: k for k in range(count)} if in_order else _nearest(truth, found)
    mine, theirs = np.array([*pairs], int), np.array([*pairs.values()], int)
    overlap = dict(zip(pairs, iou(truth.boxes[mine], found.boxes[theirs]).tolist() if pairs else ()))
    points = np.full(count, np.nan) if truth.num_points is None else truth.num_points
    rows = []
    for k in range(count):
        place = truth.boxes[k].astype(float)
        row = [float(np.hypot(place[0], place[1])), float(points[k]), float(truth.labels[k])]
        if k not in pairs:
            rows.append((*row, 0.0, np.nan, np.nan, np.nan))
            continue
        gap = found.boxes[pairs[k], :3].astype(float) - place[:3]
        same = float(truth.labels[k] == found.labels[pairs[k]])
        rows.append((*row, overlap[k], float(np.linalg.norm(gap)), float(np.hypot(gap[0], gap[1])), same))
    return rows


def _nearest(truth: Boxes, found: Boxes) -> dict[int, int]:
    pairs: dict[int, int] = {}
    scores = np.zeros(len(found.boxes)) if found.scores is None else found.scores
    for f in np.argsort(-scores, kind="stable").tolist():
        free = [k for k in range(len(truth.boxes)) if k not in pairs and truth.labels[k] == found.labels[f]]
        gaps = [float(np.linalg.norm(truth.boxes[k, :2] - found.boxes[f, :2])) for k in free]
        if gaps and min(gaps) < LIMIT_M:
            pairs[free[int(np.argmin(gaps))]] = f
    return pairs


def _summary(rows: np.ndarray) -> dict[str, Any]:
    has = ~np.isnan(rows[:, 4])

    def mean(values: np.ndarray) -> float | None:
        return float(values.mean()) if len(values) else None

    return {
        "objects": len(rows),
        "boxes": int(has.sum()),
        "iou": mean(rows[:, 3]),
        "centre_error_m": mean(rows[has, 4]),
        "recall": mean((rows[:, 3] >= GOOD_IOU).astype(float)),
        "recall_2m": mean(has & (np.nan_to_num(rows[:, 5], nan=np.inf) < LIMIT_M)),
        "label_accuracy": mean(rows[has, 6]),
    }


def quality_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of what `score_pseudo` gives: all objects, by distance, by points, by class."""
    headers = ["objects", "n", "IoU ↑", "centre error, m ↓", "recall at IoU 0.5 ↑", "recall at 2 m ↑", "right class ↑"]
    parts = {"all": result["all"]} | result["by_range"]
    parts |= {f"{n} points": of for n, of in result["by_points"].items()} | result["by_class"]
    keys = ("iou", "centre_error_m", "recall", "recall_2m", "label_accuracy")
    rows = [
        [name, str(of["objects"]), *("-" if of[k] is None else f"{of[k]:.3f}" for k in keys)]
        for name, of in parts.items()
    ]
    return headers, rows
