"""Boxes for people: what lies where in the view from above and in a camera's picture, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_drives import AHEAD, BEHIND, INTRINSICS

from audiokd.data.frame3d import Frame3d
from audiokd.report.boxes3d import BACK, FOUND, MARK, TRUE, bird_view, camera_view, frame_sheet, stack

NONE = np.zeros((0, 9))
GREY = 128


def frame_of(points: list[list[float]], marks: list[list[float]] | None = None) -> Frame3d:
    marks = marks or []
    return Frame3d(
        "f", "s", np.array(points, np.float32).reshape(-1, 5), tuple(np.full((24, 32, 3), GREY, np.uint8) for _ in range(2)),
        np.stack([INTRINSICS] * 2), np.stack([AHEAD, BEHIND]), np.full((len(marks), 9), np.nan, np.float32),
        np.zeros(len(marks), np.int64), np.array(marks, np.float32).reshape(-1, 3), np.zeros(len(marks), bool),
    )  # fmt: skip


def box(x: float, y: float, yaw: float = 0.0, length: float = 4.0) -> np.ndarray:
    return np.array([[x, y, 1.0, length, 2.0, 2.0, yaw, 0, 0]])


def places(picture: np.ndarray, colour: tuple[int, ...]) -> set[tuple[int, int]]:
    """Columns and rows of a colour."""
    rows, columns = np.nonzero((picture == colour).all(-1))
    return set(zip(columns.tolist(), rows.tolist()))


def test_ahead_is_up_and_left_is_left() -> None:
    """20 m on 200 pixels: a point 4 m ahead and 2 m left; high ones are brighter; those outside are not there."""
    low, high = [4.05, 2.05, 0, 1, 0], [-6.05, -3.05, 3, 1, 0]
    picture = np.asarray(bird_view(frame_of([low, high, [30, 0, 0, 1, 0]]), NONE, NONE, 10, 200))
    assert tuple(picture[0, 0]) == BACK
    bright = {(c, r): int(picture[r, c].astype(int).sum()) for r in range(200) for c in range(200)}
    seen = sorted((p for p in bright if bright[p] > 200), key=lambda p: bright[p])
    assert seen == [(79, 59), (130, 160)]


def test_boxes_and_marks_from_above() -> None:
    """A box of 4 x 2 m around (5, 0): its outline, and a line over its front; found boxes and marks in their own colours."""
    picture = np.asarray(bird_view(frame_of([], [[-5, -5, 0]]), box(5, 0), box(-5, 5, np.pi / 2), 10, 200))
    true, found, mark = (places(picture, c) for c in (TRUE, FOUND, MARK))
    assert {(90, 30), (110, 30), (90, 70), (110, 70)} <= true
    assert (100, 25) in true  # over the front, which is ahead
    assert (100, 75) not in true
    assert {(30, 140), (70, 140), (30, 160), (70, 160)} <= found
    assert (25, 150) in found  # its front looks left
    assert (75, 150) not in found
    assert {(150, 150), (147, 150), (150, 153)} <= mark


def test_a_box_in_the_camera() -> None:
    """Corners where the calibration puts them; the camera behind sees nothing of it, and what it lies around is cut off."""
    seen = np.asarray(camera_view(frame_of([]), 0, box(10, 0), NONE))
    front, rear = 8.0, 12.0  # the near and the far face, 2 m wide and high, the camera 1.5 m up
    lines = places(seen, TRUE)
    for depth in (front, rear):
        for side in (-1, 1):
            for height in (0.0, 2.0):
                u, v = 16 + 20 * side / depth, 12 + 20 * (1.5 - height) / depth
                assert any(abs(u - x) <= 1 and abs(v - y) <= 1 for x, y in lines)
    assert not places(np.asarray(camera_view(frame_of([]), 1, box(10, 0), NONE)), TRUE)
    around = np.asarray(camera_view(frame_of([]), 0, NONE, box(2, 0, 0, 12.0)))
    assert places(around, FOUND)
    wide = camera_view(frame_of([]), 0, box(10, 0), NONE, 3)
    assert wide.size == (96, 72)
    big = places(np.asarray(wide), TRUE)
    assert any(abs(3 * (16 + 20 / 8) - x) <= 1 and abs(3 * (12 + 20 * 1.5 / 8) - y) <= 1 for x, y in big)


@pytest.mark.parametrize("cameras", [0, 2])
def test_the_sheet(cameras: int) -> None:
    frame = frame_of([[3, 0, 0, 1, 0]])
    if not cameras:
        frame = Frame3d(
            **{**vars(frame), "images": (), "intrinsics": np.zeros((0, 3, 3)), "to_camera": np.zeros((0, 4, 4))}
        )
    sheet = frame_sheet(frame, box(5, 0), NONE, 10)
    assert sheet.height == 480 + 16
    assert sheet.width == 484 + cameras * (480 + 4)
    assert stack([sheet, sheet]).size == (sheet.width, 2 * sheet.height)
