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

    def __call__(self, mel: Tensor, boxes: Tensor, frames: Tensor | None = None) -> Tensor:
        """Rectangles resized to the spectrograms.

        Args:
            mel: [B, F, T].
            boxes: [B, 4] of the canvas of each item's own size, as `draw` gives them.
            frames: [B] of each item; all of T by default.

        Returns:
            [B, F, T], zeros past an item's frames.
        """
        boxes, bands = boxes.to(mel.device), mel.new_tensor(mel.shape[1], dtype=torch.long)
        frames = mel.new_full((len(mel),), mel.shape[2], dtype=torch.long) if frames is None else frames.to(mel.device)
        top = boxes[:, 0] - _margin(bands, self.canvas[0])
        left = boxes[:, 2] - _margin(frames, self.canvas[1])
        mel = _resize(mel.transpose(1, 2), top, boxes[:, 1], bands.expand(len(mel))).transpose(1, 2)
        return _resize(mel, left, boxes[:, 3], frames)


def _stretch(rng: np.random.Generator, size: int, canvas: float, scale: tuple[float, float]) -> tuple[int, int]:
    """First row and number of rows of a stretch of the canvas."""
    room = int(size * canvas)
    length = min(max(int(rng.uniform(*scale) * size), 1), room) if scale[0] < scale[1] else min(size, room)
    return int(rng.integers(room - length + 1)), length


def _margin(size: Tensor, canvas: float) -> Tensor:
    """Rows of the canvas before the spectrogram."""
    return ((size.double() * canvas).long() - size) // 2


def _resize(x: Tensor, start: Tensor, length: Tensor, size: Tensor) -> Tensor:
    """`x` [B, R, N]: positions `start` to `start + length` of the last axis, zeros outside of the first `size` [B] ones, resized
    to `size`."""
    n = x.shape[-1]
    if bool(((start == 0) & (length == size)).all()):
        return x
    step = (length - 1).to(torch.float32) / (size - 1).clamp(min=1)
    index = torch.arange(n, device=x.device)
    position = step[:, None] * index
    whole = position.floor()
    out = torch.zeros_like(x)
    for tap, weight in zip(range(-1, 3), _weights(position - whole)):
        at = (whole.long() + tap).clamp(min=0)
        at = torch.minimum(at, length[:, None] - 1) + start[:, None]
        inside = (at >= 0) & (at < size[:, None])
        taken = x.gather(2, at.clamp(0, n - 1)[:, None].expand(x.shape))
        out += taken * (weight * inside).to(x.dtype)[:, None]
    return out * (index < size[:, None])[:, None]


def _weights(t: Tensor) -> list[Tensor]:
    """Of the four neighbours of a point at `t` in [0, 1) between the two in the middle (Keys, 1981)."""

    def near(d: Tensor) -> Tensor:  # up to 1 away
        return ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0

    def far(d: Tensor) -> Tensor:  # from 1 to 2 away
        return ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
