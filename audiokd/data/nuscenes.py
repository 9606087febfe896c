"""nuScenes from its own JSON tables, without its devkit: frames with sweeps, six cameras and the ten classes of its detection task.

    python -m audiokd.data.nuscenes ROOT v1.0-mini mini_train data/train [--sweeps 9] [--max_error_rate 0.01]

A frame is a key frame of LIDAR_TOP, in the coordinates of the car at the lidar's moment; pictures were taken some milliseconds
before or after, and their calibration has the car's way in between. Velocities are differences of an object's annotations as the
devkit takes them, of the world, in the frame's axes. `num_points` counts the lidar's points alone. Objects of other categories are
left out, and so is the rule of the devkit's evaluation that drops bicycles in racks. So is a sample that lacks its key frame of the
lidar or rows that it names: OUT/errors.jsonl has its scene and token.

Source: nuScenes (arXiv 1903.11027) and its schema; classes and splits of v1.0-mini as in nuscenes-devkit 1.2.0.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.boxes3d import moved_boxes, of_quaternion, rigid
from audiokd.data.items3d import FrameItem, Object3d
from audiokd.data.left_out import MAX_ERROR_RATE, read_or_note, write_set
from audiokd.errors import AudiokdError, FrameError

LIDAR = "LIDAR_TOP"
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
CLASSES = (
    "car", "truck", "bus", "trailer", "construction_vehicle",
    "pedestrian", "motorcycle", "bicycle", "traffic_cone", "barrier",
)  # fmt: skip
#: class of the detection task by category
CLASS_OF = {
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.bicycle": "bicycle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
}
SPLITS = {
    "mini_train": ("scene-0061", "scene-0553", "scene-0655", "scene-0757", "scene-0796", "scene-1077", "scene-1094", "scene-1100"),
    "mini_val": ("scene-0103", "scene-0916"),
}  # fmt: skip
SWEEPS = 9  # older ones, as Point-DETR3D has
MAX_GAP_S = (
    1.5  # between two annotations that a velocity is made of; twice that between the one before and the one after
)
_TABLES = (
    "scene", "sample", "sample_data", "sample_annotation", "instance", "category", "ego_pose", "calibrated_sensor", "sensor",
)  # fmt: skip


def nuscenes_frames(
    root: str | os.PathLike[str],
    version: str,
    split: str | Sequence[str],
    sweeps: int = SWEEPS,
    errors: list[FrameError] | None = None,
) -> list[FrameItem]:
    """Frames of a split.

    Args:
        root: the folder above samples, sweeps and the version's tables.
        version: such as v1.0-mini.
        split: mini_train, mini_val; or names of scenes; or a file with a name a line, for other splits.
        sweeps: older sweeps a frame; the first frames of a scene have fewer.
        errors: gets one for each frame that is left out: no key frame of LIDAR_TOP, a row that it names is not there.
            None leaves none out.

    Raises:
        AudiokdError: a table or a scene is not there, or rows of a table lack a key; without `errors` the first bad frame.
    """
    tables = _Tables(Path(root) / version)
    names = _scene_names(split)
    known = {s["name"]: s for s in tables.rows("scene")}
    if lacking := sorted(set(names) - known.keys()):
        what = f"{len(lacking)} of {len(names)} scenes are not there: {', '.join(lacking[:5])}"
        raise AudiokdError(what, where=str(Path(root) / version), fix="is it the right version, and whole?")
    frames: list[FrameItem] = []
    noted: list[FrameError] = [] if errors is None else errors
    try:
        by_sample = _by_sample(tables)
        for name in names:
            token = known[name]["first_sample_token"]
            while token:
                one = partial(_frame, Path(root), tables, by_sample, name, token, sweeps)
                frame = read_or_note(one, name, token, noted)
                frames += [] if frame is None else [frame]
                token = tables["sample", token]["next"]
    except (KeyError, TypeError, ValueError, IndexError) as e:
        what = f"a row lacks what its table should have: {type(e).__name__} {e}"
        raise AudiokdError(what, where=str(Path(root) / version), fix="are these the tables of nuScenes v1.0?") from e
    if errors is None and noted:
        raise noted[0]
    return frames


class _Tables:
    """The JSON tables of a version, each read when it is first asked for, its rows by token."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[str, dict[str, Any]] = {}

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table."""
        if name not in self._read:
            path = self.folder / f"{name}.json"
            try:
                self._read[name] = {row["token"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
            except OSError as e:
                fix = f"give the folder above samples/, sweeps/ and {self.folder.name}/ with {', '.join(_TABLES)}.json"
                raise AudiokdError("no such table", where=str(path), fix=fix) from e
            except (ValueError, KeyError, TypeError) as e:
                raise AudiokdError(f"no table of nuScenes: {type(e).__name__} {e}", where=str(path)) from e
        return [*self._read[name].values()]

    def __getitem__(self, key: tuple[str, str]) -> dict[str, Any]:
        table, token = key
        if table not in self._read:
            self.rows(table)
        if token not in self._read[table]:
            what = f"no row with the token {token!r}, which another table names"
            raise AudiokdError(what, where=str(self.folder / f"{table}.json"), fix="is the set whole?")
        return self._read[table][token]

    def to_world(self, data: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """[4, 4] from a sensor to the car, and from the car to the world, at the moment of a sample_data row."""
        sensor = self["calibrated_sensor", data["calibrated_sensor_token"]]
        pose = self["ego_pose", data["ego_pose_token"]]
        return (_pose(sensor), _pose(pose))


def _by_sample(tables: _Tables) -> dict[str, dict[str, Any]]:
    """Of each sample its key frames by channel, and under "objects" its annotations."""
    channel = {c["token"]: tables["sensor", c["sensor_token"]]["channel"] for c in tables.rows("calibrated_sensor")}
    found: dict[str, dict[str, Any]] = {s["token"]: {"objects": []} for s in tables.rows("sample")}
    for data in tables.rows("sample_data"):
        if data["is_key_frame"]:
            found[data["sample_token"]][channel[data["calibrated_sensor_token"]]] = data
    for annotation in tables.rows("sample_annotation"):
        found[annotation["sample_token"]]["objects"].append(annotation)
    return found


def _frame(
    root: Path, tables: _Tables, by_sample: Mapping[str, Mapping[str, Any]], scene: str, token: str, count: int
) -> FrameItem:
    of = by_sample[token]
    if LIDAR not in of:
        raise AudiokdError(f"its sample has no key frame of {LIDAR}", where="sample_data.json", fix="is the set whole?")
    lidar = of[LIDAR]
    to_car, car_to_world = tables.to_world(lidar)
    to_frame = np.linalg.inv(car_to_world)
    sweeps: list[dict[str, Any]] = []
    data = lidar
    while len(sweeps) < count and data["prev"]:
        data = tables["sample_data", data["prev"]]
        older_to_car, older_to_world = tables.to_world(data)
        age = (lidar["timestamp"] - data["timestamp"]) * 1e-6
        transform = to_frame @ older_to_world @ older_to_car
        sweeps.append({"path": str(root / data["filename"]), "age": age, "transform": transform})
    cameras = []
    for channel in (c for c in CAMERAS if c in of):
        camera = of[channel]
        camera_to_car, then_to_world = tables.to_world(camera)
        cameras.append({
            "name": channel,
            "path": str(root / camera["filename"]),
            "intrinsics": tables["calibrated_sensor", camera["calibrated_sensor_token"]]["camera_intrinsic"],
            "to_camera": np.linalg.inv(then_to_world @ camera_to_car) @ car_to_world,
            "size": [camera["height"], camera["width"]],
        })  # fmt: skip
    objects = []
    for annotation in of["objects"]:
        category = tables["category", tables["instance", annotation["instance_token"]]["category_token"]]["name"]
        if category in CLASS_OF:
            box = moved_boxes(_box(tables, annotation)[None], to_frame)[0]
            objects.append(Object3d(CLASS_OF[category], tuple(box.tolist()), num_points=annotation["num_lidar_pts"]))
    return FrameItem(
        token, scene, lidar["timestamp"] * 1e-6, str(root / lidar["filename"]), to_car, sweeps, cameras, objects
    )  # fmt: skip


def _box(tables: _Tables, annotation: Mapping[str, Any]) -> np.ndarray:
    """A box [9] in the world."""
    ahead = of_quaternion(annotation["rotation"])[:, 0]
    width, length, height = annotation["size"]
    yaw = np.arctan2(ahead[1], ahead[0])
    return np.array([*annotation["translation"], length, width, height, yaw, *_velocity(tables, annotation)])


def _velocity(tables: _Tables, annotation: Mapping[str, Any]) -> np.ndarray:
    ends = [tables["sample_annotation", annotation[k]] if annotation[k] else annotation for k in ("prev", "next")]
    first, last = ((np.array(a["translation"]), tables["sample", a["sample_token"]]["timestamp"]) for a in ends)
    seconds = (last[1] - first[1]) * 1e-6
    allowed = MAX_GAP_S * (2 if annotation["prev"] and annotation["next"] else 1)
    if not 0 < seconds <= allowed:
        return np.full(2, np.nan)
    return (last[0] - first[0])[:2] / seconds


def _pose(row: Mapping[str, Any]) -> np.ndarray:
    return rigid(of_quaternion(row["rotation"]), np.array(row["translation"], float))


def _scene_names(split: str | Sequence[str]) -> list[str]:
    if not isinstance(split, str):
        return [*split]
    if split in SPLITS:
        return [*SPLITS[split]]
    if not Path(split).is_file():
        fix = f"{', '.join(SPLITS)}, or a file with the name of a scene a line"
        raise AudiokdError(f"no split {split!r}", fix=fix)
    return Path(split).read_text(encoding="utf-8").split()


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="a data dir of frames from nuScenes' own tables")
    parser.add_argument("root", help="folder above samples, sweeps and the version's tables")
    parser.add_argument("version", help="such as v1.0-mini")
    parser.add_argument("split", help="mini_train, mini_val, or a file with the name of a scene a line")
    parser.add_argument("out", help="data dir to write")
    parser.add_argument("--sweeps", type=int, default=SWEEPS, help="older sweeps a frame")
    parser.add_argument(
        "--max_error_rate", type=float, default=MAX_ERROR_RATE, help="share of frames left out that is let pass"
    )
    args = parser.parse_args(argv)
    errors: list[FrameError] = []
    frames = nuscenes_frames(args.root, args.version, args.split, args.sweeps, errors)
    write_set(args.out, frames, CLASSES, errors, args.max_error_rate)


if __name__ == "__main__":
    main()
