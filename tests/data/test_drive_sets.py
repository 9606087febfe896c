"""nuScenes and KITTI in their own layouts: places, turns and velocities come out as the world that they were made of has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_nuscenes import KEY_S, THINGS, WORLD, K, mount, pose_at, write_nuscenes

from audiokd.data import kitti, nuscenes
from audiokd.data.boxes3d import of_quaternion, points_in_boxes, wrapped
from audiokd.data.frames3d import Frames3d
from audiokd.errors import AudiokdError, FrameError


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    write_nuscenes(tmp_path / "nuscenes")
    (tmp_path / "split").write_text("scene-0061\n")
    nuscenes.main(
        [str(tmp_path / "nuscenes"), "v1.0-mini", str(tmp_path / "split"), str(tmp_path / "data"), "--sweeps", "3"]
    )
    return tmp_path


def test_nuscenes_points_of_all_sweeps_are_where_the_world_is(mini: Path) -> None:
    frames = Frames3d(mini / "data")
    assert frames.names == nuscenes.CLASSES
    assert frames.ids == ("scene-0061-0", "scene-0061-1", "scene-0061-2")
    for k, frame in enumerate(frames):
        here = np.linalg.inv(pose_at(k * KEY_S))
        want = WORLD @ here[:3, :3].T + here[:3, 3]
        ages = np.unique(frame.points[:, 4])
        # a sweep every quarter of a second; the first frames of a scene have fewer
        assert np.allclose(ages, np.arange(min(2 * k, 3) + 1) * KEY_S / 2, atol=1e-6)
        for age in ages:
            assert np.allclose(frame.points[frame.points[:, 4] == age, :3], want, atol=1e-4)
        assert np.allclose(frame.points[:, 3], 0.2)  # 51 of 255


def test_nuscenes_pictures_are_of_their_own_moment(mini: Path) -> None:
    """A point of the world falls where the camera, which the car carried on for 40 ms, has it."""
    frame = Frames3d(mini / "data")[1]
    assert [c["name"] for c in Frames3d(mini / "data").items[1].cameras] == ["CAM_FRONT", "CAM_BACK"]
    car = np.linalg.inv(pose_at(KEY_S))
    for k, channel in enumerate(("CAM_FRONT", "CAM_BACK")):
        in_frame = WORLD @ car[:3, :3].T + car[:3, 3]
        seen = in_frame @ frame.to_camera[k][:3, :3].T + frame.to_camera[k][:3, 3]
        camera = np.linalg.inv(pose_at(KEY_S + 0.04) @ mount(channel))
        assert np.allclose(seen, WORLD @ camera[:3, :3].T + camera[:3, 3], atol=1e-6)
        ahead = in_frame[:, 0] > 5
        assert ((seen[ahead, 2] > 0) == (channel == "CAM_FRONT")).all()
        assert np.allclose(frame.intrinsics[k], K)


def test_nuscenes_boxes(mini: Path) -> None:
    """The bus and the cone, not the rack: sizes in order, yaw and velocity in the car's axes, as the devkit takes them."""
    for k, frame in enumerate(Frames3d(mini / "data")):
        assert [frame.id, [nuscenes.CLASSES[x] for x in frame.labels]] == [f"scene-0061-{k}", ["bus", "traffic_cone"]]
        for box, thing in zip(frame.boxes, ("bus", "cone")):
            start, (width, length, height), yaw, speed, _ = THINGS[thing]
            course = np.array([np.cos(yaw), np.sin(yaw), 0])
            here = np.linalg.inv(pose_at(k * KEY_S))
            assert np.allclose(
                box[:3], here[:3, :3] @ (np.array(start) + course * speed * k * KEY_S) + here[:3, 3], atol=1e-3
            )
            assert np.allclose(box[3:6], (length, width, height))
            turn = 0.3 + 0.1 * k * KEY_S
            assert wrapped(box[6] - (yaw - turn)) == pytest.approx(0, abs=1e-4)
            assert np.allclose(box[7:], (here[:3, :3] @ course * speed)[:2], atol=1e-3)
    assert [o.num_points for o in Frames3d(mini / "data").items[2].objects] == [9, 9]


def test_nuscenes_velocities_that_are_not_known(tmp_path: Path) -> None:
    """One annotation alone, and annotations too far apart in time; the middle one may span twice as long."""
    write_nuscenes(tmp_path, frames=3)
    path = tmp_path / "v1.0-mini" / "sample.json"
    rows = json.loads(path.read_text())
    for row, seconds in zip(rows, (0.0, 1.4, 3.0)):
        row["timestamp"] = rows[0]["timestamp"] + int(seconds * 1e6)
    path.write_text(json.dumps(rows))
    found = nuscenes.nuscenes_frames(tmp_path, "v1.0-mini", ["scene-0061"])
    known = [np.isfinite(f.objects[0].box[7]) for f in found]  # type: ignore[index]
    assert known == [True, True, False]  # 1.4 s; 3.0 of at most 3.0; 1.6
    write_nuscenes(tmp_path / "one", frames=1)
    (one,) = nuscenes.nuscenes_frames(tmp_path / "one", "v1.0-mini", ["scene-0061"])
    assert np.isnan(one.objects[0].box[7:]).all()  # type: ignore[index]


def test_nuscenes_splits(tmp_path: Path) -> None:
    write_nuscenes(tmp_path, (*nuscenes.SPLITS["mini_train"], *nuscenes.SPLITS["mini_val"]), frames=1)
    train, val = (nuscenes.nuscenes_frames(tmp_path, "v1.0-mini", s) for s in ("mini_train", "mini_val"))
    assert (len(train), len(val)) == (8, 2)
    assert not {f.scene for f in train} & {f.scene for f in val}


def test_what_nuscenes_lacks(tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match=r"scene.json: no such table\n  give the folder above samples/"):
        nuscenes.nuscenes_frames(tmp_path, "v1.0-mini", "mini_val")
    write_nuscenes(tmp_path)
    with pytest.raises(AudiokdError, match="2 of 2 scenes are not there: scene-0103, scene-0916"):
        nuscenes.nuscenes_frames(tmp_path, "v1.0-mini", "mini_val")
    with pytest.raises(AudiokdError, match="no split 'val'"):
        nuscenes.nuscenes_frames(tmp_path, "v1.0-mini", "val")
    poses = tmp_path / "v1.0-mini" / "ego_pose.json"
    poses.write_text(json.dumps(json.loads(poses.read_text())[1:]))
    errors: list[FrameError] = []
    # the two that come after need its sweep, too
    assert nuscenes.nuscenes_frames(tmp_path, "v1.0-mini", ["scene-0061"], errors=errors) == []
    assert str(errors[0]).startswith("scene scene-0061, frame scene-0061-0: ")
    assert "ego_pose.json: no row with the token 'pose-scene-0061-LIDAR_TOP-0'" in str(errors[0])
    samples = tmp_path / "v1.0-mini" / "sample_data.json"
    samples.write_text(
        json.dumps([{k: v for k, v in r.items() if k != "is_key_frame"} for r in json.loads(samples.read_text())])
    )
    with pytest.raises(AudiokdError, match="KeyError 'is_key_frame'"):
        nuscenes.nuscenes_frames(tmp_path, "v1.0-mini", ["scene-0061"])


def test_a_sample_without_a_lidar_stops_nothing(mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = mini / "nuscenes" / "v1.0-mini" / "sample_data.json"
    rows = json.loads(path.read_text())
    (gone,) = (r for r in rows if r["token"] == "scene-0061-LIDAR_TOP-2")
    gone["is_key_frame"] = False
    path.write_text(json.dumps(rows))
    args = [str(mini / "nuscenes"), "v1.0-mini", str(mini / "split"), str(mini / "data")]
    with pytest.raises(AudiokdError, match=r"1 of 3 frames cannot be used, more than --max_error_rate 0\.01"):
        nuscenes.main(args)
    assert Frames3d(mini / "data").ids == ("scene-0061-0", "scene-0061-2")
    nuscenes.main([*args, "--max_error_rate", "0.4"])
    (row,) = map(json.loads, (mini / "data" / "errors.jsonl").read_text().splitlines())
    assert row["error"] == "its sample has no key frame of LIDAR_TOP"
    assert row["where"] == "scene scene-0061, frame scene-0061-1: sample_data.json"
    assert "2 frames, 4 objects, 1 frames left out\n  left out: scene scene-0061" in capsys.readouterr().out
    gone["is_key_frame"] = True
    path.write_text(json.dumps(rows))
    nuscenes.main(args)
    assert not (mini / "data" / "errors.jsonl").exists()


# KITTI: the camera looks ahead, is turned a little, and P2 lies 6 cm beside camera 0
AXES = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
TILT = of_quaternion([np.cos(0.02), np.sin(0.02), 0, 0])
RECTIFY = of_quaternion([np.cos(0.005), 0, np.sin(0.005), 0])
SHIFT = np.array([0.02, -0.08, -0.27])
P2 = np.array([[70.0, 0, 60, 4.2], [0, 70, 20, 0.1], [0, 0, 1, 0.003]])
BOXES = {"Car": (12.0, 3.0, -0.9, 3.9, 1.6, 1.5, 0.5), "Pedestrian": (8.0, -2.5, -0.8, 0.8, 0.6, 1.8, -2.0)}


def write_kitti(root: Path) -> np.ndarray:
    for folder in ("calib", "label_2", "velodyne", "image_2"):
        (root / folder).mkdir(parents=True)
    turn = TILT @ AXES

    def said(name: str, matrix: np.ndarray) -> str:
        return f"{name}: {' '.join(f'{v:.12e}' for v in matrix.reshape(-1))}"

    moved = np.concatenate([turn, SHIFT[:, None]], 1)
    lines = [said("P0", P2), said("P2", P2), said("R0_rect", RECTIFY), said("Tr_velo_to_cam", moved)]
    rows = ["DontCare -1 -1 -10 1 1 9 9 -1 -1 -1 -1000 -1000 -1000 -10", "Van 0 0 0 0 0 1 1 2 2 4 5 1 20 0"]
    for label, (x, y, z, length, width, height, yaw) in BOXES.items():
        floor = RECTIFY @ (turn @ np.array([x, y, z]) + SHIFT) + (0, height / 2, 0)
        ahead = RECTIFY @ turn @ np.array([np.cos(yaw), np.sin(yaw), 0])
        around = np.arctan2(-ahead[2], ahead[0])
        rows.append(
            f"{label} 0 0 0 0 0 1 1 {height} {width} {length} {floor[0]:.9f} {floor[1]:.9f} {floor[2]:.9f} {around:.9f}"
        )
    points = np.random.default_rng(1).uniform((5, -6, -2, 0), (16, 6, 1, 1), (3000, 4)).astype("<f4")
    for name in ("000000", "000007"):
        (root / "calib" / f"{name}.txt").write_text("\n".join(lines) + "\n\n")
        (root / "label_2" / f"{name}.txt").write_text("\n".join(rows) + "\n")
        points.tofile(root / "velodyne" / f"{name}.bin")
        Image.new("RGB", (120, 40)).save(root / "image_2" / f"{name}.png")
    return points


def test_kitti(tmp_path: Path) -> None:
    points = write_kitti(tmp_path / "training")
    kitti.main([str(tmp_path / "training"), str(tmp_path / "data")])
    frames = Frames3d(tmp_path / "data")
    assert (frames.names, frames.ids) == (kitti.CLASSES, ("000000", "000007"))
    frame = frames[0]
    assert [frames.names[k] for k in frame.labels] == ["Car", "Pedestrian"]
    # the camera is tilted by two degrees: what stands upright in it leans as much in the lidar's coordinates
    assert np.allclose(frame.boxes[:, :6], [b[:6] for b in BOXES.values()], atol=0.05)
    assert np.allclose(frame.boxes[:, 6], [b[6] for b in BOXES.values()], atol=0.01)
    assert np.isnan(frame.boxes[:, 7:]).all()
    assert np.allclose(frame.points[:, :4], points)
    inside = points_in_boxes(points, frame.boxes).sum(0)
    assert [o.num_points for o in frames.items[0].objects] == inside.tolist()
    assert min(inside) > 0
    # a point by our matrices falls where P2 R0 Tr puts it
    place = points[:50, :3].astype(float)
    seen = place @ frame.to_camera[0][:3, :3].T + frame.to_camera[0][:3, 3]
    ours = seen @ frame.intrinsics[0].T
    theirs = np.concatenate([(place @ (TILT @ AXES).T + SHIFT) @ RECTIFY.T, np.ones((50, 1))], 1) @ P2.T
    assert np.allclose(ours[:, :2] / ours[:, 2:], theirs[:, :2] / theirs[:, 2:], atol=1e-5)


def test_kitti_of_a_list_and_what_it_lacks(tmp_path: Path) -> None:
    root = tmp_path / "training"
    write_kitti(root)
    (tmp_path / "ids").write_text("000007\n")
    kitti.main([str(root), str(tmp_path / "data"), "--ids", str(tmp_path / "ids"), "--classes", "Van"])
    assert Frames3d(tmp_path / "data").ids == ("000007",)
    (root / "velodyne" / "000007.bin").write_bytes(b"abc")  # named by validate, not here
    assert kitti.kitti_frames(root, ["000007"])[0].objects[0].num_points is None
    (root / "label_2" / "000007.txt").write_text("Car 0 0 0 0 0 1 1 2\n")
    errors: list[FrameError] = []
    assert [f.id for f in kitti.kitti_frames(root, errors=errors)] == ["000000"]
    assert "scene kitti-000007, frame 000007: " in str(errors[0])
    assert "000007.txt:1: no object of label_2: 9 words, not 15" in str(errors[0])
    args = [str(root), str(tmp_path / "some"), "--max_error_rate"]
    kitti.main([*args, "0.5"])
    assert Frames3d(tmp_path / "some").ids == ("000000",)
    with pytest.raises(AudiokdError, match="1 of 2 frames cannot be used"):
        kitti.main([*args, "0.4"])
    (root / "image_2" / "000000.png").unlink()
    with pytest.raises(AudiokdError, match=r"(?s)not one of 2 frames can be used.*no such picture"):
        kitti.main([*args, "1"])
    calibration = root / "calib" / "000000.txt"
    calibration.write_text(calibration.read_text().replace("R0_rect", "R1_rect"))
    assert kitti.kitti_frames(root, errors=errors) == []
    assert "000000.txt: no R0_rect" in str(errors[-2])
    calibration.write_text("P2: 1 2 3\n")
    kitti.kitti_frames(root, errors=errors)
    assert "P2 has 3 numbers, not 12" in str(errors[-2])
    with pytest.raises(AudiokdError, match=r"no velodyne/\*.bin"):
        kitti.kitti_frames(tmp_path)
