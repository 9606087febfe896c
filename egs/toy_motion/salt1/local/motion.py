"""Clips with one motion each, of a photograph: a window that pans, zooms, turns or stands still, each frame resampled once from it.

One frame tells nothing of the motion. A window's pose is its centre c in the photograph, its scale s (pixels of the photograph a
pixel) and its angle; in the frame r of a clip, drawn at random, it is a random one whatever the motion, and in frame t it is away
from that by (t - r) times the motion's velocity. So that a random frame of every motion has the same distribution of poses, a
window that does not pan is off its centre by one drawn velocity times the difference of two drawn frames, too, and one that does
not zoom off its scale; angles are drawn from the whole circle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

FRAMES, SIZE = 8, 40
#: velocity of the picture's content as it is seen: pixels, share and degrees a frame
PAN, ZOOM, TURN = (1.6, 4.0), (0.04, 0.10), (5.0, 12.0)
SCALE = (0.9, 1.5)
#: eight directions of the window, counted from the right, upwards
PANS = tuple(f"pan_{k}" for k in ("e", "ne", "n", "nw", "w", "sw", "s", "se"))
MOTIONS = (*PANS, "zoom_in", "zoom_out", "turn_left", "turn_right", "still")
#: a window's middle has to vary by so many grey levels; how often it is drawn
VISIBLE, TRIES = 18.0, 60
#: samples a pixel along each axis, averaged
FINE = 2


@dataclass(frozen=True)
class Photograph:
    """A picture over white.

    Attributes:
        lit: float32 [H, W, 4]: red, green and blue times what is to be seen, and that, from 0 to 1.
        grey: [H, W] over white.
        seen: down and across of the pixels that are to be seen, [N, 2].
    """

    lit: np.ndarray
    grey: np.ndarray
    seen: np.ndarray


@lru_cache(maxsize=4)
def photograph(path: str) -> Photograph:
    with Image.open(path) as image:
        x = np.asarray(image.convert("RGBA")).astype(np.float32)
    alpha = x[..., 3:] / 255
    lit = np.concatenate([x[..., :3] * alpha, alpha], -1)  # what is hidden has colours, too
    return Photograph(lit, lit[..., :3].mean(-1) + 255 * (1 - alpha[..., 0]), np.argwhere(alpha[..., 0] > 0.8))


def poses(motion: str, rng: np.random.Generator) -> np.ndarray:
    """Of the window in each frame: across and down from the place (pixels of the photograph), log of the scale, angle; [FRAMES,
    4]."""
    log_scale, angle = rng.uniform(*np.log(SCALE)), rng.uniform(0, 2 * np.pi)
    pan, zoom, turn = rng.uniform(*PAN), rng.uniform(*ZOOM), np.deg2rad(rng.uniform(*TURN))
    direction = PANS.index(motion) if motion in PANS else int(rng.integers(len(PANS)))
    sign = {"zoom_in": -1, "zoom_out": 1}.get(motion) or int(rng.choice([-1, 1]))
    frames = np.arange(FRAMES) - rng.integers(FRAMES)
    other = rng.integers(0, FRAMES, (2, 2))
    along = frames if motion in PANS else np.full(FRAMES, other[0, 0] - other[0, 1])
    grown = frames if motion.startswith("zoom") else np.full(FRAMES, other[1, 0] - other[1, 1])
    turned = {"turn_left": 1, "turn_right": -1}.get(motion, 0) * turn * frames
    heading = direction * np.pi / 4
    step = np.exp(log_scale) * pan * np.array([np.cos(heading), -np.sin(heading)])
    step = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ step
    return np.column_stack([along * step[0], along * step[1], log_scale + sign * zoom * grown, angle + turned])


def place(picture: Photograph, rng: np.random.Generator) -> tuple[float, float] | None:
    """Where a window may stand, across and down: in the thing, and where there is something to be seen; None where it was not
    found."""
    half = SIZE // 2
    for _ in range(TRIES):
        y, x = map(int, picture.seen[rng.integers(len(picture.seen))])
        around = picture.grey[max(0, y - half) : y + half, max(0, x - half) : x + half]
        if around.std() >= VISIBLE:
            return float(x), float(y)
    return None


def window(picture: Photograph, x: float, y: float, scale: float, angle: float) -> np.ndarray:
    """uint8 [SIZE, SIZE, 3]: what is outside of the picture, or is not to be seen, is white."""
    at = ((np.arange(SIZE * FINE) + 0.5) / FINE - SIZE / 2) * scale
    u, v = np.meshgrid(at, at)
    down, across = y + u * np.sin(angle) + v * np.cos(angle), x + u * np.cos(angle) - v * np.sin(angle)
    fine = _between(picture.lit, down, across).reshape(SIZE, FINE, SIZE, FINE, 4).mean((1, 3))
    return np.clip(np.rint(fine[..., :3] + 255 * (1 - fine[..., 3:])), 0, 255).astype(np.uint8)


def _between(x: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """`x` [H, W, C] between its pixels, bilinear; zeros outside."""
    top, left = np.floor(down).astype(int), np.floor(across).astype(int)
    a, b = (down - top)[..., None].astype(np.float32), (across - left)[..., None].astype(np.float32)

    def pixel(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        inside = (i >= 0) & (i < x.shape[0]) & (j >= 0) & (j < x.shape[1])
        return x[i.clip(0, x.shape[0] - 1), j.clip(0, x.shape[1] - 1)] * inside[..., None]

    upper = pixel(top, left) * (1 - b) + pixel(top, left + 1) * b
    lower = pixel(top + 1, left) * (1 - b) + pixel(top + 1, left + 1) * b
    return upper * (1 - a) + lower * a


def clip(picture: Photograph, motion: str, rng: np.random.Generator) -> np.ndarray | None:
    """A clip [FRAMES, SIZE, SIZE, 3] of a motion; None where the picture has no place for one."""
    found = place(picture, rng)
    if found is None:
        return None
    x, y = found
    return np.stack([window(picture, x + dx, y + dy, np.exp(s), angle) for dx, dy, s, angle in poses(motion, rng)])


def moving_windows(frames: np.ndarray, count: int, stride: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Windows of a real video in which something moves, [FRAMES, SIZE, SIZE, 3], each frame resized once.

    Args:
        frames: uint8 [T, H, W, 3].
        count: windows.
        stride: frames of the video a frame.
    """
    height, width = frames.shape[1:3]
    found = tries = 0
    while found < count and tries < 40 * count:
        tries += 1
        side = int(rng.integers(min(64, height), min(height, width, 200) + 1))
        start = int(rng.integers(0, len(frames) - FRAMES * stride + 1))
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        cut = frames[start : start + FRAMES * stride : stride, top : top + side, left : left + side]
        small = [np.asarray(Image.fromarray(f).resize((SIZE, SIZE), Image.Resampling.BOX)) for f in cut]
        if np.abs(np.diff(np.stack(small).astype(np.float32), axis=0)).mean() >= 4.0:
            found += 1
            yield np.stack(small)
