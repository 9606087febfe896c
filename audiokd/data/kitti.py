"""KITTI's 3-D object set from its own layout: a frame of the velodyne and one camera, boxes without velocities.

    python -m audiokd.data.kitti ROOT/training data/train [--ids FILE] [--classes Car Pedestrian Cyclist] [--max_error_rate 0.01]

Reads velodyne/<id>.bin, image_2/<id>.png, calib/<id>.txt (P2, R0_rect, Tr_velo_to_cam) and label_2/<id>.txt. The frame is the
velodyne's. Objects of other classes and DontCare are left out. Frames are single moments: each is a scene of its own, and its
number stands for the time. Frames that cannot be read are left out and named in OUT/errors.jsonl. A detector of them looks at one
camera: --teacher.cameras 1.

Source: the devkit's readme of the KITTI 3D object benchmark (Geiger et al., 2012).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from audiokd.data.boxes3d import points_in_boxes, rigid
from audiokd.data.frames3d import read_points
from audiokd.data.items3d import FrameItem, Object3d
from audiokd.data.left_out import MAX_ERROR_RATE, read_or_note, write_set
from audiokd.errors import AudiokdError, FrameError

CLASSES = ("Car", "Pedestrian", "Cyclist")
_FIELDS = 15  # of a line of label_2: type, truncated, occluded, alpha, 4 of the 2-D box, h w l, x y z, rotation_y


def kitti_frames(
    root: str | os.PathLike[str],
    ids: Sequence[str] = (),
    classes: Sequence[str] = CLASSES,
    errors: list[FrameError] | None = None,
) -> list[FrameItem]:
    """Frames of the folder that holds calib, label_2, velodyne and image_2.

    Args:
        root: that folder, such as training.
        ids: such as 000042, those of a split; () takes all of velodyne.
        classes: types that are kept.
        errors: gets one for each frame that is left out: a file that is not there, a line that is none (file:line). None
            leaves none out.

    Raises:
        AudiokdError: there is no velodyne folder, or nothing in it; without `errors` the first bad frame.
    """
    folder = Path(root)
    names = [*ids] or sorted(p.stem for p in (folder / "velodyne").glob("*.bin"))
    if not names:
        fix = "give the folder that holds calib, label_2, velodyne and image_2"
        raise AudiokdError("no velodyne/*.bin in it", where=str(folder), fix=fix)
    noted: list[FrameError] = [] if errors is None else errors
    read = (
        read_or_note(partial(_frame, folder, name, number, classes), f"kitti-{name}", name, noted)
        for number, name in enumerate(names)
    )
    frames = [frame for frame in read if frame is not None]
    if errors is None and noted:
        raise noted[0]
    return frames


def _frame(root: Path, name: str, number: int, classes: Sequence[str]) -> FrameItem:
    from PIL import Image

    calibration = _calibration(root / "calib" / f"{name}.txt")
    to_rectified = calibration["R0_rect"] @ calibration["Tr_velo_to_cam"]
    # P2 = K [I | t]: the left colour camera lies beside the one that boxes are of
    projection = calibration["P2"]
    intrinsics = projection[:3, :3]
    beside = rigid(np.eye(3), np.linalg.solve(intrinsics, projection[:3, 3]))
    picture = root / "image_2" / f"{name}.png"
    try:
        with Image.open(picture) as image:
            size = [image.height, image.width]
    except OSError as e:
        raise AudiokdError("no such picture", where=str(picture), fix="is the set whole?") from e
    camera = {
        "name": "image_2", "path": str(picture), "intrinsics": intrinsics,
        "to_camera": beside @ to_rectified, "size": size,
    }  # fmt: skip
    points = root / "velodyne" / f"{name}.bin"
    frame = FrameItem(name, f"kitti-{name}", float(number), str(points), cameras=[camera])
    found = _labels(root / "label_2" / f"{name}.txt", np.linalg.inv(to_rectified), classes)
    boxes = np.array([box for _, box in found]).reshape(-1, 9)
    try:
        counts = points_in_boxes(read_points(frame, str(points)), boxes).sum(0).tolist()
    except FrameError:  # one bad file stops no set: `audiokd validate` names it
        counts = [None] * len(found)
    objects = [Object3d(label, tuple(box), num_points=n) for (label, box), n in zip(found, counts)]
    return FrameItem(frame.id, frame.scene, frame.timestamp, frame.points, cameras=[camera], objects=objects)


def _calibration(path: Path) -> dict[str, np.ndarray]:
    """P2, R0_rect and Tr_velo_to_cam, each filled up to 4 x 4."""
    found = {}
    for line in _lines(path):
        key, _, values = line.partition(":")
        try:
            numbers = np.array(values.split(), float)
        except ValueError as e:
            raise AudiokdError(f"no numbers in the line of {key}", where=str(path), fix="a name: numbers") from e
        if key in ("P2", "R0_rect", "Tr_velo_to_cam"):
            columns = 3 if key == "R0_rect" else 4
            if numbers.size != 3 * columns:
                what = f"{key} has {numbers.size} numbers, not {3 * columns}"
                raise AudiokdError(what, where=str(path), fix="three rows of it")
            found[key] = np.eye(4)
            found[key][:3, :columns] = numbers.reshape(3, columns)
    if lacking := {"P2", "R0_rect", "Tr_velo_to_cam"} - found.keys():
        raise AudiokdError(f"no {', '.join(sorted(lacking))}", where=str(path), fix="is it of the object benchmark?")
    return found


def _labels(path: Path, to_velodyne: np.ndarray, classes: Sequence[str]) -> list[tuple[str, list[float]]]:
    found = []
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        try:
            if len(words) < _FIELDS:
                raise ValueError(f"{len(words)} words, not {_FIELDS}")
            height, width, length, x, y, z, turn = map(float, words[8:_FIELDS])
        except ValueError as e:
            raise AudiokdError(f"no object of label_2: {e}", where=f"{path}:{number}", fix="is the file whole?") from e
        if words[0] not in classes:
            continue
        # the floor's centre in the camera: y is down; the heading turns around y from x towards -z
        centre = to_velodyne @ np.array([x, y - height / 2, z, 1])
        ahead = to_velodyne[:3, :3] @ np.array([np.cos(turn), 0, -np.sin(turn)])
        yaw = float(np.arctan2(ahead[1], ahead[0]))
        found.append((words[0], [*centre[:3].tolist(), length, width, height, yaw, float("nan"), float("nan")]))
    return found


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as e:
        raise AudiokdError("no such file", where=str(path), fix="is the set whole?") from e


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="a data dir of frames from KITTI's layout")
    parser.add_argument("root", help="folder that holds calib, label_2, velodyne and image_2")
    parser.add_argument("out", help="data dir to write")
    parser.add_argument("--ids", default="", help="file with the id of a frame a line, such as ImageSets/train.txt")
    parser.add_argument("--classes", nargs="+", default=[*CLASSES], help="types that are kept")
    parser.add_argument(
        "--max_error_rate", type=float, default=MAX_ERROR_RATE, help="share of frames left out that is let pass"
    )
    args = parser.parse_args(argv)
    errors: list[FrameError] = []
    frames = kitti_frames(args.root, _lines(Path(args.ids)) if args.ids else (), args.classes, errors)
    write_set(args.out, frames, args.classes, errors, args.max_error_rate)


if __name__ == "__main__":
    main()
