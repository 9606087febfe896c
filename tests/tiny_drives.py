"""Data dirs of tiny drives: a few cars and cones with points on them, two cameras of 24 x 32 pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from audiokd.data.boxes3d import box_corners
from audiokd.data.items3d import FrameItem, Object3d, write_frames
from audiokd.data.point_marks import marked

NAMES = ("car", "traffic_cone")
SIZES = ((4.6, 2.0, 1.7), (0.4, 0.4, 1.1))
INTRINSICS = np.array([[20.0, 0, 16], [0, 20, 12], [0, 0, 1]])
AHEAD = np.array([[0.0, -1, 0, 0], [0, 0, -1, 1.5], [1, 0, 0, 0], [0, 0, 0, 1]])
BEHIND = np.array([[0.0, 1, 0, 0], [0, 0, -1, 1.5], [-1, 0, 0, 0], [0, 0, 0, 1]])


def save_drives(folder: Path, frames: int = 4, seed: int = 0, marks: bool = False) -> Path:
    """Frames of drives of two frames each, a second apart, with one older sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number in range(frames):
        rng = np.random.default_rng([seed, number])
        name = f"s{seed}-{number // 2}-{number % 2}"
        objects, points = [], [rng.uniform((-20, -20, 0, 0), (20, 20, 0.05, 1), (60, 4))]
        for k in range(5):
            label = int(rng.integers(2))
            box = np.array(
                [*rng.uniform(-18, 18, 2), SIZES[label][2] / 2, *SIZES[label], rng.uniform(-3, 3), 1.5, -0.5]
            )
            count = int(rng.integers(2, 30))
            corners = box_corners(box[None])[0]
            share = rng.dirichlet(np.ones(8), count)
            points.append(np.concatenate([share @ corners, rng.uniform(0, 1, (count, 1))], 1))
            velocity = box[7:] if k else (np.nan, np.nan)
            objects.append(Object3d(NAMES[label], (*box[:7].tolist(), *map(float, velocity)), num_points=count))
        own, older = folder / f"{name}.bin", folder / f"{name}-older.bin"
        np.concatenate(points).astype("<f4").tofile(own)
        points[0].astype("<f4").tofile(older)
        cameras = []
        for channel, to_camera in (("AHEAD", AHEAD), ("BEHIND", BEHIND)):
            path = folder / f"{name}-{channel}.png"
            Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(path)
            cameras.append(
                {"name": channel, "path": str(path), "intrinsics": INTRINSICS, "to_camera": to_camera, "size": [24, 32]}
            )
        moved = np.eye(4)
        moved[:2, 3] = (-1, 0.5)
        sweeps = [{"path": str(older), "age": 0.1, "transform": moved}]
        frame = FrameItem(
            name,
            f"scene-{seed}-{number // 2}",
            float(number),
            str(own),
            sweeps=sweeps,
            cameras=cameras,
            objects=objects,
        )
        items.append(marked(frame, seed, True) if marks else frame)
    write_frames(folder, items, NAMES)
    return folder


def change(folder: Path, line: int, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit one line of items.jsonl as JSON."""
    path = folder / "items.jsonl"
    rows = [json.loads(x) for x in path.read_text().splitlines()]
    edit(rows[line])
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
