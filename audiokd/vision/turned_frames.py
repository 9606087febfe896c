"""What a detector finds in a scene that was turned: how much its network knows of directions that its training drives had."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiokd.data.frame3d import Frame3d
from audiokd.vision.bev_augment import augmentation, move_boxes, move_cameras, move_points


def turned(frame: Frame3d, degrees: float) -> Frame3d:
    """The frame as it is in coordinates that are turned: points, boxes, marks and cameras, counter-clockwise by `degrees`.

    Pictures stay: cameras see what they saw.
    """
    move = _turn(degrees)

    def moved(values: np.ndarray, by: Any) -> np.ndarray:
        return by(torch.from_numpy(np.asarray(values, dtype=np.float64)), move).numpy().astype(values.dtype)

    return dataclasses.replace(
        frame,
        points=moved(frame.points, move_points),
        boxes=moved(frame.boxes, move_boxes),
        marks=moved(frame.marks, move_points),
        to_camera=moved(frame.to_camera, move_cameras),
    )


def predict_turned(
    model: Any, frames: Sequence[Frame3d], degrees: float
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """`model.predict` of turned frames, the boxes turned back: they are scored as those of the frames themselves.

    What lies in the corners of a square range leaves it by a turn that is no quarter: score what is within its inner circle.
    """
    found = model.predict([turned(f, degrees) for f in frames])
    back = _turn(-degrees)
    return [
        (move_boxes(torch.from_numpy(boxes).double(), back).float().numpy(), labels, scores)
        for boxes, labels, scores in found
    ]


def _turn(degrees: float) -> Tensor:
    return augmentation(False, False, math.radians(degrees), 1.0, (0.0, 0.0, 0.0))
