"""Boxes by seed, for nuscenes-devkit and for audiokd to score alike: numpy alone, for environments of both."""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = (
    "car", "truck", "bus", "trailer", "construction_vehicle",
    "pedestrian", "motorcycle", "bicycle", "traffic_cone", "barrier",
)  # fmt: skip
ATTRIBUTES = ("", "vehicle.moving", "vehicle.parked")
CASES = ("near", "noisy", "odd")
FRAMES = 12


def seeded_boxes(case: str) -> dict[str, dict[str, dict[str, Any]]]:
    """By frame `truth` and `found`, each with boxes [N, 9], labels, scores, num_points and attributes.

    near: most objects are found. noisy: places, sizes and turns are off, many boxes are of nothing. odd: classes without an object
    or without a box, frames without either, equal scores, velocities that are not known, objects out of range and without a point.
    """
    rng = np.random.default_rng([7, CASES.index(case)])
    frames = {}
    for number in range(FRAMES):
        count = int(rng.integers(10, 40)) if case != "odd" or number % 4 else 0
        boxes = np.concatenate([
            rng.uniform(-55, 55, (count, 2)), rng.uniform(-1, 1, (count, 1)), rng.uniform(0.4, 5, (count, 3)),
            rng.uniform(-np.pi, np.pi, (count, 1)), rng.normal(0, 3, (count, 2)),
        ], 1)  # fmt: skip
        labels = rng.integers(0, 7 if case == "odd" else len(NAMES), count)
        points = rng.integers(0 if case == "odd" else 1, 30, count)
        attributes = rng.integers(0, len(ATTRIBUTES), count)
        if case == "odd":
            boxes[rng.random(count) < 0.3, 7:] = np.nan
        near = 0.3 if case == "near" else 1.0
        kept = rng.random(count) < 0.85
        said = boxes[kept] + rng.normal(0, near, (int(kept.sum()), 9)) * (1, 1, 0.2, 0, 0, 0, 0.5, 1, 1)
        said[rng.random(len(said)) < 0.15, 6] += (
            np.pi
        )  # front and back are taken for each other: of a barrier that is no error
        said[:, 3:6] *= np.exp(rng.normal(0, 0.3 * near, (len(said), 3)))
        said[np.isnan(said)] = 0.5  # the devkit takes no found box without a velocity
        wrong = np.concatenate([
            rng.uniform(-55, 55, (25, 2)), rng.uniform(-1, 1, (25, 1)), rng.uniform(0.4, 5, (25, 3)),
            rng.uniform(-4, 4, (25, 1)), rng.normal(0, 3, (25, 2)),
        ], 1)  # fmt: skip
        said_labels = np.concatenate([labels[kept], rng.integers(0, len(NAMES), 25)])
        flipped = rng.random(len(said_labels)) < (0.05 if case == "near" else 0.2)
        said_labels[flipped] = rng.integers(0, len(NAMES), int(flipped.sum()))
        if case == "odd":
            said_labels[said_labels == 2] = 3  # no bus is found
        scores = np.concatenate([rng.uniform(0.2, 1, len(said)), rng.uniform(0.01, 0.7, 25)])
        if case == "odd":
            scores = np.round(scores, 1)
        said_attributes = np.concatenate([attributes[kept], rng.integers(0, len(ATTRIBUTES), 25)])
        mixed = rng.random(len(said_attributes)) < 0.3
        said_attributes[mixed] = rng.integers(0, len(ATTRIBUTES), int(mixed.sum()))
        frames[f"frame-{number:02d}"] = {
            "truth": {"boxes": boxes, "labels": labels, "num_points": points, "attributes": [ATTRIBUTES[a] for a in attributes]},
            "found": {"boxes": np.concatenate([said, wrong]), "labels": said_labels, "scores": scores,
                      "attributes": [ATTRIBUTES[a] for a in said_attributes]},
        }  # fmt: skip
    return frames
