"""Boxes of `audiokd.data.frame3d.BOX`: their corners, what lies in them, and how they move with a frame of reference. numpy."""

from __future__ import annotations

import numpy as np

# front left, front right, rear right, rear left below, then the same above: of a box of length 2, width 2, height 2
UNIT_CORNERS = np.array(
    [[x, y, z] for z in (-1, 1) for x, y in ((1, 1), (1, -1), (-1, -1), (-1, 1))],
    dtype=np.float64,
)
#: pairs of corners that an edge joins; the last two are a cross on the front face
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7), (0, 5), (1, 4))


def box_corners(boxes: np.ndarray) -> np.ndarray:
    """Corners of boxes [N, 7 or more], in the order of `UNIT_CORNERS`: float64 [N, 8, 3]."""
    boxes = np.asarray(boxes, np.float64)
    local = UNIT_CORNERS[None] * boxes[:, None, 3:6] / 2
    cos, sin = np.cos(boxes[:, 6])[:, None], np.sin(boxes[:, 6])[:, None]
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return np.stack([x, y, local[..., 2]], -1) + boxes[:, None, :3]


def points_in_boxes(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which points [P, 3 or more] lie in which boxes [N, 7 or more], their faces included: bool [P, N]."""
    boxes = np.asarray(boxes, np.float64)
    inside = np.zeros((len(points), len(boxes)), bool)
    for k, box in enumerate(boxes):  # a box at a time: P x N numbers at once would not fit
        offset = points[:, :3] - box[:3]
        cos, sin = np.cos(box[6]), np.sin(box[6])
        along = offset[:, 0] * cos + offset[:, 1] * sin
        across = offset[:, 1] * cos - offset[:, 0] * sin
        inside[:, k] = (
            (np.abs(along) <= box[3] / 2) & (np.abs(across) <= box[4] / 2) & (np.abs(offset[:, 2]) <= box[5] / 2)
        )
    return inside


def moved_boxes(boxes: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Boxes [N, 9] in other coordinates; velocities turn along, and what stands upright has to stay so but for a few degrees.

    Args:
        boxes: see `audiokd.data.frame3d.BOX`.
        transform: [4, 4], to the new coordinates.
    """
    moved = np.array(boxes, np.float64)
    turn, shift = transform[:3, :3], transform[:3, 3]
    moved[:, :3] = moved[:, :3] @ turn.T + shift
    ahead = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), np.zeros(len(boxes))], -1) @ turn.T
    moved[:, 6] = np.arctan2(ahead[:, 1], ahead[:, 0])
    speed = np.concatenate([boxes[:, 7:9], np.zeros((len(boxes), 1))], -1) @ turn.T
    moved[:, 7:9] = speed[:, :2]
    return moved


def moved_points(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """The first three columns of points [P, 3 or more] in other coordinates, the others as they are."""
    moved = np.array(points)
    moved[:, :3] = points[:, :3].astype(np.float64) @ transform[:3, :3].T + transform[:3, 3]
    return moved


def wrapped(angle: np.ndarray) -> np.ndarray:
    """Angles in radians, from -pi on and under pi."""
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def rigid(turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[4, 4] of a rotation [3, 3] and a translation [3] that follows it."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = turn, shift
    return made


def of_quaternion(wxyz: object) -> np.ndarray:
    """Rotation matrix [3, 3] of a quaternion (w, x, y, z), which need not be of length 1.

    Raises:
        ValueError: not four numbers, or all of them 0.
    """
    q = np.asarray(wxyz, np.float64)
    if q.shape != (4,) or not np.linalg.norm(q) > 0:
        raise ValueError(f"{wxyz} is no rotation")
    w, x, y, z = q / np.linalg.norm(q)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
