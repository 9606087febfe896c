"""A lidar and a pinhole camera that look at cuboids on flat ground: rays against boxes by slabs, the nearest hit wins. numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from audiokd.data.boxes3d import box_corners

BEAMS = np.radians(np.linspace(10.67, -30.67, 32))  # as nuScenes' lidar has them, from the top down
STEPS = 300  # of a turn
LIDAR_M = 1.84  # over the ground
REACH_M = 40.0
NOISE_M = 0.02
DROPPED = 0.05  # share of returns that are lost
SIZE = (96, 160)  # of a picture
FIELD = np.radians(70.0)  # of view, from side to side
CAMERA_M = 1.5
CAMERAS = {
    "CAM_FRONT": 0, "CAM_FRONT_LEFT": 60, "CAM_FRONT_RIGHT": -60,
    "CAM_BACK": 180, "CAM_BACK_LEFT": 120, "CAM_BACK_RIGHT": -120,
}  # fmt: skip
SUN = np.array([0.4, 0.5, 0.77])
SKY, HORIZON = np.array([110.0, 150, 205]), np.array([200.0, 212, 225])
ROAD, WALK, GRASS, LINE = (np.array(c, float) for c in ((88, 88, 92), (150, 147, 140), (98, 122, 74), (215, 215, 205)))
ROAD_M, WALK_M = 7.0, 11.0  # from the road's middle to its edge, and to that of the pavement


class Cuboids(NamedTuple):
    """Parts of things, in the car's coordinates.

    Attributes:
        boxes: [K, 9].
        owner: [K], the thing that a part is of.
        colour: [K, 3].
        shine: [K], the intensity of a return.
    """

    boxes: np.ndarray
    owner: np.ndarray
    colour: np.ndarray
    shine: np.ndarray


def hits(origin: np.ndarray, rays: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays [..., 3] from `origin` enter a box: distance in lengths of the ray [...], infinite where they miss; and the
    face, 0 front, 1 rear, 2 left, 3 right, 4 top, 5 bottom."""
    cos, sin = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    start, way = turn @ (origin - box[:3]), rays @ turn.T
    way = np.where(np.abs(way) < 1e-9, 1e-9, way)
    sides = np.sign(way) * box[3:6] / 2
    enter, leave = (-sides - start) / way, (sides - start) / way
    axis = enter.argmax(-1)
    near, far = enter.max(-1), leave.min(-1)
    face = 2 * axis + (np.take_along_axis(way, axis[..., None], -1)[..., 0] > 0)
    return np.where((near < far) & (near > 0.05), near, np.inf), face


def scan(things: Cuboids, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One turn of the lidar: points [P, 4] in the car's coordinates, and the thing that each is of, -1 for the ground."""
    turn = 2 * np.pi / STEPS
    azimuth = np.arange(STEPS) * turn - np.pi
    rays = np.stack([
        np.cos(BEAMS)[:, None] * np.cos(azimuth), np.cos(BEAMS)[:, None] * np.sin(azimuth),
        np.repeat(np.sin(BEAMS)[:, None], STEPS, 1),
    ], -1)  # fmt: skip
    origin = np.array([0, 0, LIDAR_M])
    down = np.minimum(rays[..., 2], -1e-6)
    depth, owner = np.where(rays[..., 2] < -1e-6, -LIDAR_M / down, np.inf), np.full(rays.shape[:2], -1)
    shine = np.full(rays.shape[:2], 0.15)
    for box, of, bright in zip(things.boxes, things.owner, things.shine):
        distance, radius = np.hypot(*box[:2]), np.hypot(box[3], box[4]) / 2
        if distance - radius > REACH_M:
            continue
        if distance > radius:
            middle, half = np.arctan2(box[1], box[0]) + np.pi, np.arcsin(radius / distance) + turn
            columns = (
                np.arange(np.floor((middle - half) / turn), np.ceil((middle + half) / turn) + 1).astype(int) % STEPS
            )
        else:  # alongside: its corners may be anywhere around
            columns = np.arange(STEPS)
        near_by, far_off = max(distance - radius, 0.3), distance + radius
        ends = [(box[2] + s * box[5] / 2 - LIDAR_M) / d for s in (-1, 1) for d in (near_by, far_off)]
        beams = np.flatnonzero((np.arctan(min(ends)) - 1e-3 < BEAMS) & (np.arctan(max(ends)) + 1e-3 > BEAMS))
        part = np.ix_(beams, np.unique(columns))
        near, _ = hits(origin, rays[part], box)
        nearer = near < depth[part]
        depth[part], owner[part] = np.where(nearer, near, depth[part]), np.where(nearer, of, owner[part])
        shine[part] = np.where(nearer, bright, shine[part])
    kept = (depth < REACH_M) & (rng.random(depth.shape) > DROPPED)
    far = (depth[kept] + rng.normal(0, NOISE_M, int(kept.sum())))[:, None]
    points = origin + rays[kept] * far
    bright = np.clip(shine[kept] + rng.normal(0, 0.04, len(points)), 0, 1)
    return np.concatenate([points, bright[:, None]], 1).astype(np.float32), owner[kept]


def camera(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics [3, 3] and the way from the car's coordinates to the camera's [4, 4]."""
    focal = SIZE[1] / 2 / np.tan(FIELD / 2)
    yaw = np.radians(CAMERAS[name])
    ahead, right = np.array([np.cos(yaw), np.sin(yaw), 0]), np.array([np.sin(yaw), -np.cos(yaw), 0])
    to_camera = np.eye(4)
    to_camera[:3, :3] = [right, [0, 0, -1], ahead]
    to_camera[:3, 3] = -to_camera[:3, :3] @ (0.5 * ahead + [0, 0, CAMERA_M])
    return np.array([[focal, 0, SIZE[1] / 2], [0, focal, SIZE[0] / 2], [0, 0, 1]]), to_camera


def picture(things: Cuboids, name: str, across: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a camera sees: uint8 [H, W, 3].

    Args:
        things: in the car's coordinates.
        name: of the camera.
        across: a and b of the line across the road, and c: a x + b y + c is how far left of its middle a point lies; then
            those along it.
        rng: of noise.
    """
    intrinsics, to_camera = camera(name)
    turn = to_camera[:3, :3].T
    origin = -turn @ to_camera[:3, 3]
    rows, columns = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5, indexing="ij")
    rays = np.stack([
        (columns - intrinsics[0, 2]) / intrinsics[0, 0], (rows - intrinsics[1, 2]) / intrinsics[1, 1], np.ones(SIZE),
    ], -1) @ turn.T  # fmt: skip
    down = rays[..., 2] < -1e-6
    depth = np.where(down, -origin[2] / np.where(down, rays[..., 2], -1), np.inf)
    colour = _ground(origin, rays, depth, down, across)
    corners = box_corners(things.boxes) @ to_camera[:3, :3].T + to_camera[:3, 3]
    for box, corner, shade in zip(things.boxes, corners, things.colour):
        window = _window(corner, intrinsics)
        if window is None:
            continue
        near, face = hits(origin, rays[window], box)
        nearer = near < depth[window]
        if not nearer.any():
            continue
        depth[window] = np.where(nearer, near, depth[window])
        colour[window][nearer] = (shade * _light(box[6])[face][..., None])[nearer]
    haze = np.clip(depth / 150, 0, 0.5)[..., None]
    colour = (
        colour * (1 - haze)
        + HORIZON * haze * np.isfinite(depth)[..., None]
        + (colour * haze) * ~np.isfinite(depth)[..., None]
    )
    return np.clip(colour + rng.normal(0, 5, colour.shape), 0, 255).astype(np.uint8)


def _light(yaw: float) -> np.ndarray:
    """How bright each face is; the front, which has the lamps, a little more than its side of the sun gives."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    normals = np.array([[cos, sin, 0], [-cos, -sin, 0], [-sin, cos, 0], [sin, -cos, 0], [0, 0, 1], [0, 0, -1]])
    return 0.55 + 0.45 * np.clip(normals @ SUN, 0, 1) + np.array([0.15, -0.1, 0, 0, 0, 0])


def _ground(
    origin: np.ndarray, rays: np.ndarray, depth: np.ndarray, down: np.ndarray, across: np.ndarray
) -> np.ndarray:
    rise = np.clip(rays[..., 2] / 0.5, 0, 1)[..., None]
    colour = HORIZON * (1 - rise) + SKY * rise
    place = origin[:2] + rays[..., :2] * np.where(down, np.minimum(depth, 1e3), 0)[..., None]
    left, along = (place[..., 0] * a + place[..., 1] * b + c for a, b, c in across)
    side = np.abs(left)
    floor = np.where((side < ROAD_M)[..., None], ROAD, np.where((side < WALK_M)[..., None], WALK, GRASS))
    dashes = (side < 0.15) & (along % 6 < 3) | (np.abs(side - ROAD_M + 0.4) < 0.12)
    floor = np.where(dashes[..., None], LINE, floor)
    return np.where(down[..., None], floor, colour)


def _window(corners: np.ndarray, intrinsics: np.ndarray) -> tuple[slice, slice] | None:
    """The rectangle of pixels that a box may cover; None where it is behind, or beside."""
    ahead = corners[:, 2]
    if ahead.max() < 0.1:
        return None
    if ahead.min() < 0.1:  # it reaches behind the picture
        return slice(0, SIZE[0]), slice(0, SIZE[1])
    at = corners @ intrinsics.T
    at = at[:, :2] / at[:, 2:]
    low, high = np.floor(at.min(0)).astype(int), np.ceil(at.max(0)).astype(int) + 1
    left, top = np.maximum(low, 0)
    right, bottom = min(high[0], SIZE[1]), min(high[1], SIZE[0])
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None
