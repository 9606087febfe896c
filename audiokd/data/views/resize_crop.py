"""Random resize crop of a spectrogram (Niizumi et al., BYOL for Audio, arXiv 2103.06695, section IV-B), a batch at once.

Each item's own rectangle of a larger canvas, zeros around the spectrogram, is resized to the spectrogram's size: pitch and
tempo change a little. Bicubic (a = -0.75) with corners aligned, an axis at a time: the same numbers as
torch.nn.functional.interpolate on each crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

A = -0.75


@dataclass(frozen=True)
class RandomResizeCrop:
    """Draws rectangles and resizes to them.

    Attributes:
        canvas: height and width of the canvas over the spectrogram's.
        freq_scale, time_scale: range of the rectangle's height and width over the spectrogram's; cut to the canvas.
    """

    canvas: tuple[float, float] = (1.0, 1.5)
    freq_scale: tuple[float, float] = (0.6, 1.5)
    time_scale: tuple[float, float] = (0.6, 1.5)

    def draw(self, rng: np.random.Generator, bands: int, frames: int) -> tuple[int, int, int, int]:
        """Top, height, left and width of a rectangle in the canvas."""
        top, height = _stretch(rng, bands, self.canvas[0], self.freq_scale)
        left, width = _stretch(rng, frames, self.canvas[1], self.time_scale)
        return top, height, left, width

    def __call__(self, mel: Tensor, boxes: Tensor) -> Tensor:
        """`mel` [B, F, T] with `boxes` [B, 4] of the canvas, as `draw` gives them, resized to [B, F, T]."""
        bands, frames = mel.shape[1:]
        boxes = boxes.to(mel.device)
        top = boxes[:, 0] - (int(bands * self.canvas[0]) - bands) // 2
        left = boxes[:, 2] - (int(frames * self.canvas[1]) - frames) // 2
        return _resize(_resize(mel.transpose(1, 2), top, boxes[:, 1]).transpose(1, 2), left, boxes[:, 3])


def _stretch(rng: np.random.Generator, size: int, canvas: float, scale: tuple[float, float]) -> tuple[int, int]:
    """First row and number of rows of a stretch of the canvas."""
    room = int(size * canvas)
    length = min(max(int(rng.uniform(*scale) * size), 1), room) if scale[0] < scale[1] else min(size, room)
    return int(rng.integers(room - length + 1)), length


def _resize(x: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """`x` [B, R, N]: positions `start` to `start + length` of the last axis, zeros outside of x, resized to N."""
    n = x.shape[-1]
    if bool(((start == 0) & (length == n)).all()):
        return x
    step = (length - 1).to(torch.float32) / max(n - 1, 1)
    position = step[:, None] * torch.arange(n, device=x.device)
    whole = position.floor()
    out = torch.zeros_like(x)
    for tap, weight in zip(range(-1, 3), _weights(position - whole)):
        at = (whole.long() + tap).clamp(min=0)
        at = torch.minimum(at, length[:, None] - 1) + start[:, None]
        inside = (at >= 0) & (at < n)
        taken = x.gather(2, at.clamp(0, n - 1)[:, None].expand(x.shape))
        out += taken * (weight * inside).to(x.dtype)[:, None]
    return out


def _weights(t: Tensor) -> list[Tensor]:
    """Of the four neighbours of a point at `t` in [0, 1) between the two in the middle (Keys, 1981)."""

    def near(d: Tensor) -> Tensor:  # up to 1 away
        return ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0

    def far(d: Tensor) -> Tensor:  # from 1 to 2 away
        return ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
