"""nuScenes' own layout, tiny and with a known truth: a world of fixed points, a car that drives and turns, two things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from audiokd.data.boxes3d import of_quaternion, rigid

START_US = 1_500_000_000_000_000
KEY_S = 0.5  # between key frames
SIZE = (18, 32)
K = np.array([[25.0, 0, 16], [0, 25, 9], [0, 0, 1]])
#: sensors on the car: nuScenes' lidar looks with y ahead; a camera's z is ahead and its y down
MOUNTS = {
    "LIDAR_TOP": ([np.sqrt(0.5), 0, 0, -np.sqrt(0.5)], [0.9, 0.0, 1.84]),
    "CAM_FRONT": ([0.5, -0.5, 0.5, -0.5], [1.7, 0.0, 1.5]),
    "CAM_BACK": ([0.5, -0.5, -0.5, 0.5], [0.0, 0.0, 1.5]),
}  # fmt: skip
WORLD = np.random.default_rng(5).uniform((-30, -30, 0), (60, 30, 3), (80, 3)) + np.array([400, 1100, 0])
#: in the world: where at the time 0, width length height, yaw, speed along it, category
THINGS = {
    "bus": ((420.0, 1105, 1.7), (2.9, 11.0, 3.4), 0.4, 4.0, "vehicle.bus.rigid"),
    "cone": ((410.0, 1095, 0.5), (0.4, 0.4, 1.0), 1.0, 0.0, "movable_object.trafficcone"),
    "rack": ((405.0, 1090, 0.5), (1.4, 3.0, 1.0), 0.0, 0.0, "static_object.bicycle_rack"),
}


def yaw_quaternion(yaw: float) -> list[float]:
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


def car_at(t: float) -> tuple[list[float], list[float]]:
    """Rotation and translation of the car in the world."""
    return yaw_quaternion(0.3 + 0.1 * t), [400 + 6 * t, 1100 + 2 * t, 0.0]


def pose_at(t: float) -> np.ndarray:
    turn, place = car_at(t)
    return rigid(of_quaternion(turn), np.array(place))


def mount(channel: str) -> np.ndarray:
    turn, place = MOUNTS[channel]
    return rigid(of_quaternion(turn), np.array(place))


def write_nuscenes(root: Path, scenes: tuple[str, ...] = ("scene-0061",), frames: int = 3) -> None:
    """Tables of v1.0-mini, a sweep of the lidar between two key frames, pictures some milliseconds after the lidar."""
    names = "scene sample sample_data sample_annotation instance category ego_pose calibrated_sensor sensor"
    t: dict[str, list[dict[str, Any]]] = {k: [] for k in names.split()}
    for channel in MOUNTS:
        t["sensor"].append({"token": f"sensor-{channel}", "channel": channel})
        turn, place = MOUNTS[channel]
        t["calibrated_sensor"].append({
            "token": f"mount-{channel}", "sensor_token": f"sensor-{channel}", "rotation": [*map(float, turn)],
            "translation": place, "camera_intrinsic": K.tolist() if channel != "LIDAR_TOP" else [],
        })  # fmt: skip
    for category in {x[-1] for x in THINGS.values()}:
        t["category"].append({"token": f"category-{category}", "name": category})
    for scene in scenes:
        t["scene"].append({"token": scene, "name": scene, "first_sample_token": f"{scene}-0"})
        moments = np.arange(2 * frames - 1) * KEY_S / 2  # of the lidar; every second one is a key frame
        for k in range(frames):
            t["sample"].append({
                "token": f"{scene}-{k}", "timestamp": START_US + round(k * KEY_S * 1e6), "scene_token": scene,
                "prev": f"{scene}-{k - 1}" if k else "", "next": f"{scene}-{k + 1}" if k + 1 < frames else "",
            })  # fmt: skip
        for channel in MOUNTS:
            late = 0.0 if channel == "LIDAR_TOP" else 0.04
            for n, moment in enumerate(moments):
                key = n % 2 == 0
                if channel != "LIDAR_TOP" and not key:
                    continue
                at, token = float(moment) + late, f"{scene}-{channel}-{n}"
                turn, place = car_at(at)
                t["ego_pose"].append({"token": f"pose-{token}", "rotation": turn, "translation": place})
                end = ".pcd.bin" if channel == "LIDAR_TOP" else ".jpg"
                name = f"{'samples' if key else 'sweeps'}/{channel}/{token}{end}"
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                if channel == "LIDAR_TOP":
                    here = np.linalg.inv(pose_at(at) @ mount(channel))
                    points = WORLD @ here[:3, :3].T + here[:3, 3]
                    full = np.concatenate([points, np.full((len(points), 1), 51.0), np.zeros((len(points), 1))], 1)
                    full.astype("<f4").tofile(root / name)
                else:
                    Image.new("RGB", (SIZE[1], SIZE[0]), (90, 120, 150)).save(root / name)
                t["sample_data"].append({
                    "token": token, "sample_token": f"{scene}-{n // 2}", "ego_pose_token": f"pose-{token}",
                    "calibrated_sensor_token": f"mount-{channel}", "timestamp": START_US + round(at * 1e6), "filename": name,
                    "is_key_frame": key, "height": SIZE[0], "width": SIZE[1],
                    "prev": f"{scene}-{channel}-{n - 1}" if channel == "LIDAR_TOP" and n else "",
                })  # fmt: skip
        for thing, (start, size, yaw, speed, category) in THINGS.items():
            t["instance"].append({"token": f"{scene}-{thing}", "category_token": f"category-{category}"})
            for k in range(frames):
                ahead = np.array([np.cos(yaw), np.sin(yaw), 0]) * speed * k * KEY_S
                t["sample_annotation"].append({
                    "token": f"{scene}-{thing}-{k}", "sample_token": f"{scene}-{k}", "instance_token": f"{scene}-{thing}",
                    "translation": (np.array(start) + ahead).tolist(), "size": [*size], "rotation": yaw_quaternion(yaw),
                    "prev": f"{scene}-{thing}-{k - 1}" if k else "", "next": f"{scene}-{thing}-{k + 1}" if k + 1 < frames else "",
                    "num_lidar_pts": 7 + k, "num_radar_pts": 0,
                })  # fmt: skip
    (root / "v1.0-mini").mkdir(parents=True, exist_ok=True)
    for name, rows in t.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
