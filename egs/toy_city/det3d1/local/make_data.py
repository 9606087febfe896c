"""Drives through a made-up city with known boxes: `make_data.py DATA [TRAIN DEV TEST [FRAMES]]`, drives of each and frames a drive.

A drive is a street with things of the ten nuScenes classes, some of which move, and clutter that has no label, drawn from
(seed, split, number) alone. Every second a frame: what a 32-beam lidar and six cameras see of it (sensors.py), two older sweeps,
and the boxes and marks of things that at least one return of the frame's own sweep is of. DATA gets train, dev and test, whose
drives are no others'.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from sensors import CAMERAS, SIZE, Cuboids, camera, picture, scan

from audiokd.data.boxes3d import moved_boxes, rigid, wrapped
from audiokd.data.items3d import FrameItem, Object3d, write_frames
from audiokd.data.nuscenes import CLASSES
from audiokd.data.point_marks import marked

SEED = 0
RANGE_M = 25.6
STEP_S = 1.0  # between frames
AGES_S = (0.15, 0.3)  # of the older sweeps
THINGS, CLUTTER = 44, 16  # of a drive
START_S = 1000.0  # between drives, on one clock


class Kind(NamedTuple):
    """Share of things, mean width, length and height in metres (the means of nuScenes' boxes), speed in m/s and how many
    of ten move, where it stands, and its colours.

    Places: lane, kerb (parked), walk (the pavement), yard (beside it), edge (of the road).
    """

    share: float
    size: tuple[float, float, float]
    speed: float
    moving: float
    place: str
    colours: tuple[tuple[int, int, int], ...]


PAINTS = ((200, 30, 30), (35, 70, 170), (225, 225, 228), (40, 40, 44), (130, 135, 140), (40, 110, 60))
CLOTHES = ((170, 60, 50), (50, 60, 120), (210, 190, 160), (60, 60, 60), (120, 90, 140))
KINDS = {
    "car": Kind(0.26, (1.96, 4.63, 1.74), 7, 5, "lane kerb", PAINTS),
    "truck": Kind(0.08, (2.52, 6.94, 2.85), 6, 5, "lane yard", ((210, 210, 200), (180, 60, 40), (60, 90, 150))),
    "bus": Kind(0.05, (2.95, 11.19, 3.49), 6, 6, "lane", ((225, 180, 40), (190, 40, 50), (60, 130, 190))),
    "trailer": Kind(0.05, (2.92, 12.28, 3.87), 0, 0, "yard", ((235, 235, 235), (150, 160, 170))),
    "construction_vehicle": Kind(0.05, (2.82, 6.56, 3.20), 0, 0, "yard", ((235, 170, 20), (225, 120, 30))),
    "pedestrian": Kind(0.19, (0.67, 0.73, 1.77), 1.3, 7, "walk", CLOTHES),
    "motorcycle": Kind(0.06, (0.77, 2.11, 1.46), 7, 4, "lane kerb", ((30, 30, 34), (170, 30, 40))),
    "bicycle": Kind(0.06, (0.61, 1.70, 1.30), 4, 5, "walk edge", ((60, 60, 70), (30, 140, 120))),
    "traffic_cone": Kind(0.10, (0.41, 0.42, 1.08), 0, 0, "edge", ((240, 100, 20),)),
    "barrier": Kind(0.10, (2.51, 0.50, 0.99), 0, 0, "edge", ((230, 228, 220), (220, 60, 50))),
}
#: parts of a thing: x, y, z of their centre and length, width, height as shares of the box, from -0.5 to 0.5
PARTS = {
    "car": ((0, 0, -0.22, 1, 1, 0.56), (-0.08, 0, 0.28, 0.55, 0.9, 0.44)),
    "truck": ((0.36, 0, -0.08, 0.28, 1, 0.84), (-0.17, 0, 0.05, 0.66, 1, 0.9), (0, 0, -0.36, 1, 0.8, 0.18)),
    "trailer": ((0, 0, 0.12, 1, 1, 0.76), (-0.3, 0, -0.38, 0.3, 0.8, 0.24)),
    "construction_vehicle": ((-0.15, 0, -0.15, 0.7, 1, 0.7), (-0.2, 0, 0.35, 0.3, 0.6, 0.3), (0.3, 0, 0.1, 0.4, 0.25, 0.25)),
    "motorcycle": ((0, 0, -0.2, 1, 0.35, 0.6), (-0.1, 0, 0.25, 0.3, 1, 0.5)),
    "bicycle": ((0, 0, -0.2, 1, 0.2, 0.6), (-0.05, 0, 0.25, 0.3, 1, 0.5)),
    "pedestrian": ((0, 0, -0.05, 0.6, 1, 0.9), (0.1, 0, 0.36, 0.4, 0.4, 0.28)),
    "traffic_cone": ((0, 0, -0.45, 1, 1, 0.1), (0, 0, 0.02, 0.5, 0.5, 0.96)),
}  # fmt: skip
WHOLE = ((0, 0, 0, 1, 1, 1),)
#: unlabelled: length, width, height from and to, distance from the road's middle from and to
CLUTTERS = (
    ((0.25, 0.25, 3.5), (0.35, 0.35, 6.0), 7.5, 8.5, (110, 110, 115)),  # poles
    ((5.0, 0.3, 1.5), (10.0, 0.5, 3.0), 14.0, 25.0, (165, 140, 120)),  # walls
    ((1.0, 1.0, 0.6), (2.5, 1.8, 1.5), 11.5, 24.0, (60, 100, 50)),  # bushes
    ((0.6, 0.6, 0.9), (1.0, 0.9, 1.3), 8.0, 11.0, (70, 75, 70)),  # bins
)


class Street(NamedTuple):
    """What stands in a drive, in the street's coordinates (x along it, y left) at the time 0.

    Attributes:
        boxes: [N, 9].
        labels: [N], -1 of clutter.
        colours: [N, 3].
        shine: [N].
        speed: of the car, m/s.
        lane: how far left of the middle it drives.
        sway: where its nose is at the time 0, radians of the way to and fro.
    """

    boxes: np.ndarray
    labels: np.ndarray
    colours: np.ndarray
    shine: np.ndarray
    speed: float
    lane: float
    sway: float


def plan(rng: np.random.Generator, seconds: float) -> Street:
    """Draw a drive: things one after another, each where it meets no other and not the car at any moment."""
    speed, lane = float(rng.uniform(0, 7)), float(rng.uniform(-4.5, -2.5))
    moments = np.arange(-max(AGES_S), seconds + 0.1, 0.25)
    own = np.array([0, lane, 0, 4.5, 2, 1.5, 0, speed, 0])
    boxes, labels, colours = [own], [], []
    shares = np.array([k.share for k in KINDS.values()])
    wanted = [int(v) for v in rng.choice(len(CLASSES), THINGS, p=shares / shares.sum())]
    wanted = [CLASSES.index([*KINDS][v]) for v in wanted] + [-1] * CLUTTER
    for label in sorted(wanted, key=lambda v: -(v >= 0) * np.prod(KINDS[CLASSES[v]].size)):  # the large ones first
        for _ in range(40):
            box, colour = _thing(CLASSES[label], rng, speed * seconds) if label >= 0 else _clutter(rng, speed * seconds)
            if _is_free(box, np.array(boxes), moments):
                boxes.append(box)
                labels.append(label)
                colours.append(np.clip(np.array(colour) + rng.normal(0, 14, 3), 0, 255))
                break
    shine = rng.uniform(0.1, 0.9, len(labels))
    return Street(
        np.array(boxes[1:]), np.array(labels), np.array(colours), shine, speed, lane, float(rng.uniform(0, 2 * np.pi))
    )


def _thing(name: str, rng: np.random.Generator, way_m: float) -> tuple[np.ndarray, tuple[int, int, int]]:
    kind = KINDS[name]
    width, length, height = np.array(kind.size) * np.exp(rng.normal(0, 0.08, 3))
    place = str(rng.choice(kind.place.split()))
    side = float(rng.choice((-1, 1)))
    y = side * float(
        rng.uniform(
            *{"lane": (1.6, 5), "kerb": (7.2, 8.4), "walk": (7.5, 11), "yard": (12, 23), "edge": (5.8, 7.4)}[place]
        )
    )
    # lanes are driven on the right, both ways; in a yard things stand as they were left
    yaw = (0.0 if y < 0 else np.pi) if place in ("lane", "kerb") else float(rng.uniform(0, 2 * np.pi))
    if name == "barrier":
        yaw = side * np.pi / 2  # across its length it stands along the road
    moves = place != "kerb" and rng.random() < kind.moving / 10
    pace = float(rng.uniform(0.4, 1.3)) * kind.speed if moves else 0.0
    if place in ("walk", "edge") and moves:
        yaw = float(rng.choice((0, np.pi)))
    yaw += float(rng.normal(0, 0.05))
    x = float(rng.uniform(-RANGE_M - 8, way_m + RANGE_M + 8))
    box = np.array([x, y, height / 2, length, width, height, yaw, pace * np.cos(yaw), pace * np.sin(yaw)])
    return box, kind.colours[rng.integers(len(kind.colours))]


def _clutter(rng: np.random.Generator, way_m: float) -> tuple[np.ndarray, tuple[int, int, int]]:
    low, high, near, far, colour = CLUTTERS[rng.integers(len(CLUTTERS))]
    length, width, height = rng.uniform(low, high)
    y = float(rng.choice((-1, 1)) * rng.uniform(near, far))
    x = float(rng.uniform(-RANGE_M - 8, way_m + RANGE_M + 8))
    return np.array([x, y, height / 2, length, width, height, rng.uniform(0, np.pi), 0, 0]), colour


def _is_free(box: np.ndarray, others: np.ndarray, moments: np.ndarray) -> bool:
    """Whether a thing keeps clear of the others at all moments: discs along the length of each must not touch."""
    mine, of = _discs(box[None]), _discs(others)
    for t in moments:
        gap = (
            mine[:, :2]
            + t * box[7:9]
            - of[:, None, :2].reshape(-1, 1, 2)
            - t * np.repeat(others[:, 7:9], 3, 0)[:, None]
        )
        if (np.linalg.norm(gap, axis=-1) < mine[:, 2] + of[:, 2:3]).any():
            return False
    return True


def _discs(boxes: np.ndarray) -> np.ndarray:
    """Three discs x, y, radius a box, in a row along its longer side: [3 N, 3]."""
    long, short = boxes[:, 3:5].max(1), boxes[:, 3:5].min(1)
    turn = boxes[:, 6] + np.where(boxes[:, 3] >= boxes[:, 4], 0, np.pi / 2)
    steps = np.array([-1, 0, 1])[None] * (long - short)[:, None] / 2
    x = boxes[:, :1] + steps * np.cos(turn)[:, None]
    y = boxes[:, 1:2] + steps * np.sin(turn)[:, None]
    radius = np.maximum(short / 2, (long - short) / 4) * 1.1
    return np.stack([x, y, np.repeat(radius[:, None], 3, 1)], -1).reshape(-1, 3)


def car_pose(street: Street, t: float) -> np.ndarray:
    """[4, 4] from the car's coordinates to the street's: it drives straight on, its nose a little to and fro."""
    yaw = 0.04 * np.sin(0.7 * t + street.sway)
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    return rigid(turn, np.array([street.speed * t, street.lane, 0]))


def seen_from(street: Street, t: float) -> np.ndarray:
    """All boxes [N, 9] at a time, in the car's coordinates; velocities are of the street, in the car's axes."""
    boxes = np.array(street.boxes)
    boxes[:, :2] += t * boxes[:, 7:9]
    return moved_boxes(boxes, np.linalg.inv(car_pose(street, t)))


def cuboids(street: Street, boxes: np.ndarray) -> Cuboids:
    """The parts that things are made of."""
    made, owner = [], []
    for k, (box, label) in enumerate(zip(boxes, street.labels)):
        for part in PARTS.get(CLASSES[label] if label >= 0 else "", WHOLE):
            shift = np.array(part[:3]) * box[3:6]
            cos, sin = np.cos(box[6]), np.sin(box[6])
            place = box[:3] + np.array([shift[0] * cos - shift[1] * sin, shift[0] * sin + shift[1] * cos, shift[2]])
            made.append([*place, *(np.array(part[3:]) * box[3:6]), box[6], 0, 0])
            owner.append(k)
    rows = np.array(owner)
    return Cuboids(np.array(made), rows, street.colours[rows], street.shine[rows])


def write_frame(
    root: Path, name: str, scene: str, street: Street, t: float, clock: float, rng: np.random.Generator
) -> FrameItem:
    """Write the files of one frame; its line."""
    pose = car_pose(street, t)
    boxes = seen_from(street, t)
    things = cuboids(street, boxes)
    points, owner = scan(things, rng)
    paths = [root / "points" / f"{name}.bin", *(root / "sweeps" / f"{name}-{k}.bin" for k in range(1, len(AGES_S) + 1))]
    points.tofile(paths[0])
    sweeps: list[dict[str, Any]] = []
    for path, age in zip(paths[1:], AGES_S):
        older, _ = scan(cuboids(street, seen_from(street, t - age)), rng)
        older.tofile(path)
        transform = np.linalg.inv(pose) @ car_pose(street, t - age)
        sweeps.append({"path": str(path), "age": age, "transform": transform})
    # how far left of the middle, and how far along, a point of the car's coordinates lies
    lines = np.array([[*pose[1, :2], pose[1, 3]], [*pose[0, :2], pose[0, 3]]])
    cameras = []
    for channel in CAMERAS:
        path = root / "images" / f"{name}-{channel}.jpg"
        Image.fromarray(picture(things, channel, lines, rng)).save(path, quality=92)
        intrinsics, to_camera = camera(channel)
        cameras.append(
            {"name": channel, "path": str(path), "intrinsics": intrinsics, "to_camera": to_camera, "size": [*SIZE]}
        )
    counts = np.bincount(owner[owner >= 0], minlength=len(boxes))
    boxes[:, 6] = wrapped(boxes[:, 6])
    inside = (np.abs(boxes[:, :2]) < RANGE_M).all(1)
    objects = [
        Object3d(CLASSES[street.labels[k]], tuple(boxes[k].tolist()), num_points=int(counts[k]))
        for k in np.flatnonzero(inside & (counts > 0) & (street.labels >= 0))
    ]
    return FrameItem(name, scene, clock + t, str(paths[0]), sweeps=sweeps, cameras=cameras, objects=objects)


def write_split(data: Path, split: str, drives: int, frames: int) -> None:
    root = data / split
    for folder in ("points", "sweeps", "images"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    items = []
    for number in range(drives):
        # by the split's name, so that a larger set holds the drives of a smaller one
        rng = np.random.default_rng([SEED, *split.encode(), number])
        street = plan(rng, STEP_S * (frames - 1))
        scene = f"{split}-{number:03d}"
        for k in range(frames):
            frame = write_frame(root, f"{scene}-{k}", scene, street, k * STEP_S, number * START_S, rng)
            items.append(marked(frame, SEED, with_boxes=True))
    write_frames(root, items, CLASSES)
    print(f"{root}: {drives} drives, {len(items)} frames, {sum(len(f.objects) for f in items)} objects")


def main(data: str, train: str = "60", dev: str = "8", test: str = "24", frames: str = "5") -> None:
    for split, drives in {"train": train, "dev": dev, "test": test}.items():
        write_split(Path(data), split, int(drives), int(frames))


if __name__ == "__main__":
    main(*sys.argv[1:])
