"""One moment of a drive: points around a car, what its cameras saw, and where things are.

The frame of reference is the car's at that moment: x forward, y left, z up, metres; yaw counter-clockwise from +x in radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOX = (
    "x",
    "y",
    "z",
    "length",
    "width",
    "height",
    "yaw",
    "vx",
    "vy",
)  # x, y, z of the centre of the box, not of its floor


@dataclass(frozen=True)
class Frame3d:
    """What a detector is given of one moment, with what is known of its objects.

    Attributes:
        id: of the frame, within its set.
        scene: drive that it is of.
        points: [P, 5] float32: x, y, z, intensity in [0, 1], age of its sweep in seconds (0: the frame's own).
        images: pictures of the cameras, each [H, W, 3] uint8; all of one size, or none at all.
        intrinsics: [C, 3, 3] float64, of the pictures as they are here, in pixels.
        to_camera: [C, 4, 4] float64: the frame's coordinates to a camera's (x right, y down, z ahead).
        boxes: [N, 9] float32, see BOX; velocities are NaN where not known. Rows of objects that have a point alone are NaN.
        labels: [N] int64, indices of the set's class names.
        marks: [N, 3] float32, the annotated point of each object; NaN where an object has none.
        boxed: [N] bool, whether an object's box is given.
    """

    id: str
    scene: str
    points: np.ndarray
    images: tuple[np.ndarray, ...]
    intrinsics: np.ndarray
    to_camera: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    marks: np.ndarray
    boxed: np.ndarray
