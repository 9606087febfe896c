"""Frames of drives: what a line says is what a detector is given, and what is wrong is said with scene and frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_drives import AHEAD, INTRINSICS, NAMES, change, save_drives

from audiokd.data.boxes3d import box_corners, moved_boxes, moved_points, of_quaternion, points_in_boxes, rigid, wrapped
from audiokd.data.frame3d import Frame3d
from audiokd.data.frames3d import Frames3d
from audiokd.data.items3d import holds_frames, read_frames, write_frames
from audiokd.errors import AudiokdError, FrameError


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    return save_drives(tmp_path / "train", marks=True)


def test_a_frame_as_its_line_says(drives: Path) -> None:
    frames = Frames3d(drives)
    rows = [json.loads(line) for line in (drives / "items.jsonl").read_text().splitlines()]
    assert frames.names == NAMES
    assert frames.ids == ("s0-0-0", "s0-0-1", "s0-1-0", "s0-1-1")
    assert len(frames) == 4
    assert not rows[0]["points"].startswith("/")  # the folder can be moved
    frame, row = frames[1], rows[1]
    assert isinstance(frame, Frame3d)
    assert (frame.id, frame.scene) == ("s0-0-1", "scene-0-0")
    own = np.fromfile(drives / row["points"], "<f4").reshape(-1, 4)
    older = np.fromfile(drives / row["sweeps"][0]["path"], "<f4").reshape(-1, 4)
    assert np.array_equal(frame.points[: len(own), :4], own)
    assert not frame.points[: len(own), 4].any()
    assert np.allclose(frame.points[len(own) :, :2], older[:, :2] + (-1, 0.5), atol=1e-6)
    assert np.allclose(frame.points[len(own) :, 4], 0.1)
    assert frame.points.dtype == frame.boxes.dtype == frame.marks.dtype == np.float32
    assert (frame.labels.dtype, frame.boxed.dtype, frame.intrinsics.dtype) == (np.int64, bool, np.float64)
    assert [i.shape for i in frame.images] == [(24, 32, 3)] * 2
    assert np.array_equal(frame.images[0], np.asarray(Image.open(drives / row["cameras"][0]["path"])))
    assert np.array_equal(frame.intrinsics[1], INTRINSICS)
    assert np.array_equal(frame.to_camera[0], AHEAD)
    assert [NAMES[k] for k in frame.labels] == [o["label"] for o in row["objects"]]
    assert np.allclose(frame.boxes[:, :7], [o["box"][:7] for o in row["objects"]])
    assert row["objects"][0]["box"][7:] == [None, None]
    assert np.isnan(frame.boxes[0, 7:]).all()
    assert np.allclose(frame.marks, [o["mark"] for o in row["objects"]])
    assert frame.boxed.all()


def test_marks_alone(drives: Path) -> None:
    change(drives, 0, lambda row: row["objects"][1].update(box=None))
    frame = Frames3d(drives)[0]
    assert frame.boxed.tolist() == [True, False, True, True, True]
    assert np.isnan(frame.boxes[1]).all()
    assert np.isfinite(frame.marks[1]).all()


def test_resizing_moves_pixels_and_intrinsics_alike(drives: Path) -> None:
    """A point in the world falls on the same share of the picture."""
    whole, small = Frames3d(drives)[0], Frames3d(drives, size=(12, 64))[0]
    assert [i.shape for i in small.images] == [(12, 64, 3)] * 2
    place = np.array([[8.0, 1.0, 0.5]]) @ whole.to_camera[0][:3, :3].T + whole.to_camera[0][:3, 3]
    at = [(p := place @ f.intrinsics[0].T)[0, :2] / p[0, 2] for f in (whole, small)]
    assert np.allclose(at[0] / (32, 24), at[1] / (64, 12))


def test_options(drives: Path) -> None:
    low, high = (-10, -10, -1), (10, 10, 3)
    near, whole = Frames3d(drives, range_m=(*low, *high))[0], Frames3d(drives)[0]
    inside = ((whole.points[:, :3] >= low) & (whole.points[:, :3] < high)).all(1)
    assert 0 < len(near.points) == inside.sum() < len(whole.points)
    assert set(Frames3d(drives, num_sweeps=0)[0].points[:, 4]) == {0}
    bare = Frames3d(drives, with_images=False)[0]
    assert (bare.images, bare.intrinsics.shape, bare.to_camera.shape) == ((), (0, 3, 3), (0, 4, 4))
    assert [f.id for f in Frames3d(drives)[1:3]] == ["s0-0-1", "s0-1-0"]
    assert [f.id for f in Frames3d(drives)] == [*Frames3d(drives).ids]


def test_order_is_of_time_and_quarantine_is_left_out(drives: Path) -> None:
    change(drives, 0, lambda row: row.update(timestamp=2.5))
    (drives / "quarantine.txt").write_text("s0-0-1 it is bad\n")
    assert Frames3d(drives).ids == ("s0-1-0", "s0-0-0", "s0-1-1")
    (drives / "quarantine.txt").write_text("".join(f"{i} bad\n" for i in ("s0-0-0", "s0-0-1", "s0-1-0", "s0-1-1")))
    with pytest.raises(AudiokdError, match="every frame is in quarantine"):
        Frames3d(drives)


def remove(key: str) -> Callable[[dict[str, Any], Path], None]:
    def edit(row: dict[str, Any], root: Path) -> None:
        of = row if key == "points" else row[key][0]
        (root / (of["points"] if key == "points" else of["path"])).unlink()

    return edit


def put(*keys: Any, value: Any) -> Callable[[dict[str, Any], Path], None]:
    def edit(row: dict[str, Any], root: Path) -> None:
        of: Any = row
        for key in keys[:-1]:
            of = of[key]
        of[keys[-1]] = value

    return edit


def spoil(row: dict[str, Any], root: Path) -> None:
    points = np.fromfile(root / row["points"], "<f4")
    points[5] = np.nan
    points.tofile(root / row["points"])


def cut(row: dict[str, Any], root: Path) -> None:
    (root / row["points"]).write_bytes((root / row["points"]).read_bytes()[:-3])


BAD: dict[str, tuple[Callable[[dict[str, Any], Path], None], str]] = {
    "no points": (remove("points"), "no such file: .*s0-0-1.bin"),
    "no sweep": (remove("sweeps"), "no such file: .*older.bin"),
    "no picture": (remove("cameras"), "picture of AHEAD: no such file"),
    "nan point": (spoil, r"1 of \d+ points of .* are no place in metres, point 1: .*nan"),
    "cut off": (cut, "no whole number of points of 4 float32"),
    "other kind": (put("points", value="x.npz"), "of no kind that is read"),
    "intrinsics shape": (
        put("cameras", 0, "intrinsics", value=[[1, 0], [0, 1]]),
        r"intrinsics of AHEAD is of shape \(2, 2\), not 3 x 3",
    ),
    "ragged": (put("cameras", 0, "intrinsics", value=[[1, 0], [0, 1, 2]]), "intrinsics of AHEAD is of shape"),
    "calibration text": (put("cameras", 1, "to_camera", value="eye"), "to_camera of BEHIND is of shape"),
    "no calibration": (put("cameras", 1, "to_camera", value=None), "to_camera of BEHIND is of shape"),
    "focal": (put("cameras", 0, "intrinsics", value=np.zeros((3, 3)).tolist()), "focal lengths 0, 0"),
    "no rotation": (put("cameras", 0, "to_camera", value=(2 * np.eye(4)).tolist()), "no rotation with a translation"),
    "last row": (put("sweeps", 0, "transform", 3, value=[1, 0, 0, 1]), r"transform of sweep 0 ends in the row"),
    "to_frame": (put("to_frame", value=np.eye(3).tolist()), r"to_frame is of shape \(3, 3\), not 4 x 4"),
    "age": (put("sweeps", 0, "age", value=-1), "age of sweep 0 is -1"),
    "size": (put("cameras", 0, "size", value=[24, 30]), r"picture of AHEAD is 24 x 32, its line says \[24, 30\]"),
    "no extent": (put("objects", 2, "box", 4, value=0), r"box of object 2 \(\w+\) has no extent"),
    "nan box": (put("objects", 2, "box", 0, value=float("nan")), r"box of object 2 \(\w+\) is \[nan"),
    "short box": (put("objects", 0, "box", value=[1, 2, 3]), r"box of object 0 \(\w+\) is \[1, 2, 3\]"),
    "text in a box": (put("objects", 0, "box", 3, value="long"), r"box of object 0 \(\w+\) is"),
    "bad mark": (put("objects", 0, "mark", value=[1, 2, 1e9]), r"mark of object 0 \(\w+\) is \[1, 2, 1000000000.0\]"),
    "strange label": (put("objects", 0, "label", value="tram"), "object 0 is 'tram', no class of the set"),
    "nothing known": (put("objects", 0, value={"label": "car", "box": None, "mark": None}), "neither a box nor a mark"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_one_frame(name: str, drives: Path) -> None:
    edit, said = BAD[name]
    change(drives, 1, lambda row: edit(row, drives))
    frames = Frames3d(drives)
    with pytest.raises(FrameError, match=said) as e:
        frames[1]
    assert f"{drives}/items.jsonl:2: frame s0-0-1 of scene-0-0" in str(e.value)
    assert e.value.fix
    assert [frames[k].id for k in (0, 2, 3)] == ["s0-0-0", "s0-1-0", "s0-1-1"]  # the others are what they were


def test_no_point_in_the_range(drives: Path) -> None:
    with pytest.raises(FrameError, match=r"none of .* points lies in the range 100, 100, 0, 101"):
        Frames3d(drives, range_m=(100, 100, 0, 101, 101, 1))[0]


def test_cameras_of_several_sizes(drives: Path) -> None:
    row = json.loads((drives / "items.jsonl").read_text().splitlines()[0])
    path = drives / row["cameras"][1]["path"]
    Image.open(path).resize((16, 24)).save(path)
    change(drives, 0, lambda r: r["cameras"][1].update(size=[24, 16]))
    with pytest.raises(FrameError, match="cameras of several sizes: AHEAD 24 x 32, BEHIND 24 x 16"):
        Frames3d(drives)[0]
    frame = Frames3d(drives, size=(24, 32))[0]
    assert np.allclose(frame.intrinsics[1], np.diag([2, 1, 1]) @ INTRINSICS)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no frame of a drive"),
        ('{"id": "a"}', "KeyError 'scene'"),
        ('{"id": "a b", "scene": "s", "timestamp": 0, "points": "p"}', "cannot be an id"),
        ('{"id": "a", "scene": "s", "timestamp": 0, "points": "../p"}', "leaves"),
        ('{"id": "a", "scene": "s", "timestamp": 0, "points": "p", "radar": 1}', "unknown key radar"),
        ('{"id": "s0-0-0", "scene": "s", "timestamp": 0, "points": "p"}', "stands there before, in line 1"),
        ('{"id": "a", "scene": "s", "timestamp": 0, "points": "p", "objects": [{}]}', "KeyError 'label'"),
    ],
)
def test_lines_that_are_no_frame(drives: Path, line: str, said: str) -> None:
    with open(drives / "items.jsonl", "a") as f:
        f.write(line + "\n")
    with pytest.raises(AudiokdError, match=said) as e:
        read_frames(drives)
    assert f"{drives}/items.jsonl:5" in str(e.value)


def test_writing_refuses_what_reading_would(drives: Path, tmp_path: Path) -> None:
    frames = read_frames(drives)
    for given, names, said in (
        (frames, ("car",), "no class of the set: traffic_cone"),
        ([*frames, frames[0]], NAMES, "two frames have this id"),
        ([], NAMES, "no frame to write"),
    ):
        with pytest.raises(AudiokdError, match=said):
            write_frames(tmp_path / "out", given, names)


def test_written_and_read_is_the_same(drives: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "again", read_frames(drives), NAMES)
    first, again = Frames3d(drives), Frames3d(tmp_path / "again")
    assert first.sha256 == again.sha256  # no path is in it
    for a, b in zip(first, again):
        assert all(np.array_equal(getattr(a, k), getattr(b, k), equal_nan=True) for k in ("points", "boxes", "marks"))
        assert np.array_equal(a.to_camera, b.to_camera)
    change(drives, 2, lambda row: row["objects"][0].update(mark=[0, 0, 0]))
    assert Frames3d(drives).sha256 != first.sha256


def test_pictures_are_no_drives(drives: Path, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"id": "a", "path": "a.png"}\n')
    assert holds_frames(drives)
    assert not holds_frames(tmp_path)
    assert not holds_frames(tmp_path / "nowhere")


def test_boxes_move_with_the_frame_of_reference() -> None:
    """Corners of moved boxes are moved corners; velocities keep their angle to the heading; and back again."""
    rng = np.random.default_rng(0)
    boxes = np.concatenate(
        [
            rng.normal(0, 9, (20, 3)),
            rng.uniform(0.5, 5, (20, 3)),
            rng.uniform(-3, 3, (20, 1)),
            rng.normal(0, 3, (20, 2)),
        ],
        1,
    )
    transform = rigid(of_quaternion([np.cos(0.6), 0, 0, np.sin(0.6)]), np.array([3.0, -2, 0.5]))
    moved = moved_boxes(boxes, transform)
    corners = box_corners(boxes) @ transform[:3, :3].T + transform[:3, 3]
    assert np.allclose(box_corners(moved), corners, atol=1e-9)
    course = [np.arctan2(b[:, 8], b[:, 7]) - b[:, 6] for b in (boxes, moved)]
    assert np.allclose(wrapped(course[0] - course[1]), 0, atol=1e-9)
    back = moved_boxes(moved, np.linalg.inv(transform))
    assert np.allclose(np.delete(back, 6, 1), np.delete(boxes, 6, 1), atol=1e-9)
    assert np.allclose(wrapped(back[:, 6] - boxes[:, 6]), 0, atol=1e-9)
    points = rng.normal(0, 6, (400, 5))
    inside = points_in_boxes(points, boxes)
    assert inside.any()
    assert np.array_equal(inside, points_in_boxes(moved_points(points, transform), moved))
    one = np.argwhere(inside)[0]
    local = points[one[0], :3] - boxes[one[1], :3]
    ahead = np.array([np.cos(boxes[one[1], 6]), np.sin(boxes[one[1], 6])])
    assert abs(local[:2] @ ahead) <= boxes[one[1], 3] / 2
    with pytest.raises(ValueError, match="no rotation"):
        of_quaternion([0, 0, 0, 0])
