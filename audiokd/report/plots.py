"""The drawings of a page. Charts are SVG written by hand, so that they take the page's colours (dark or light) and are
the same bytes each time; spectrograms are small PNG files with one colour scale for all versions of an utterance."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

WIDTH, HEIGHT = 360, 200  # of a chart, in SVG units; a page shows it about that large
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 24  # its margins
BINS = 160  # points of a line: more are averaged, with a band from the lowest to the highest

N_MELS, FRAME_S, RANGE_DB = 96, 0.010, 80.0  # of spectrograms


def line_chart(lines: Sequence[tuple[int, np.ndarray, np.ndarray]], label: str) -> str:
    """Curves over training steps as SVG.

    The value axis is logarithmic where all values are positive and span more than a factor of 50. Lines with many
    points are averaged in bins, and a band shows the lowest and highest of each bin. Values that are not finite are
    left out (the caller says how many).

    Args:
        lines: (colour from 1, steps, values) for each line, the latter two `[N]`.
        label: what a screen reader says.
    """
    drawn = []
    for colour, steps, values in lines:
        ok = np.isfinite(values)
        drawn.append((colour, *_bins(steps[ok], values[ok])))
    every = [d[1:] for d in drawn if d[1].size]
    if not every:
        return _svg(f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no finite value</text>', label)
    low, high = min(d[2].min() for d in every), max(d[3].max() for d in every)
    log = low > 0 and high / low > 50
    x = _Axis(min(d[0].min() for d in every), max(d[0].max() for d in every), LEFT, WIDTH - RIGHT)
    y = _Axis(low, high, HEIGHT - BOTTOM, TOP, log=log, pad=0.05)
    parts = _grid(x, y)
    for i, steps, mean, lowest, highest in drawn:
        if (highest > lowest).any():
            there = [f"{x(s):.1f},{y(v):.1f}" for s, v in zip(steps, highest)]
            back = [f"{x(s):.1f},{y(v):.1f}" for s, v in zip(steps[::-1], lowest[::-1])]
            parts.append(f'<polygon class="band c{i}" points="{" ".join(there + back)}"/>')
        points = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(steps, mean))
        parts.append(f'<polyline class="line c{i}" points="{points}"/>')
        if steps.size <= 24:
            parts += [
                f'<circle class="dot c{i}" cx="{x(s):.1f}" cy="{y(v):.1f}" r="2.4"/>' for s, v in zip(steps, mean)
            ]
    return _svg("".join(parts), label)


def usage_chart(counts: Sequence[int] | np.ndarray, label: str) -> str:
    """How often each entry of a codebook was used, most used first, as SVG. The dashed line is even use.

    Args:
        counts: uses of each entry `[N]`.
        label: what a screen reader says.
    """
    sorted_counts = np.sort(np.asarray(counts, dtype=np.float64))[::-1]
    total, size = sorted_counts.sum(), sorted_counts.size
    if not total:
        return _svg(f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">never used</text>', label)
    used = sorted_counts[sorted_counts > 0] / total
    even = 1 / size
    x = _Axis(0, size, LEFT, WIDTH - RIGHT)
    y = _Axis(min(used.min(), even), max(used.max(), even), HEIGHT - BOTTOM, TOP, log=True, pad=0.06)
    parts = _grid(x, y, percent=True)
    ranks = np.unique(np.linspace(0, used.size, min(used.size + 1, 400)).astype(int))
    base = HEIGHT - BOTTOM
    path = [f"M{x(0):.1f},{base}"]
    for a, b in pairwise(ranks):  # steps: an entry is as wide as it is
        level = y(used[a:b].mean())
        path.append(f"L{x(a):.1f},{level:.1f}L{x(b):.1f},{level:.1f}")
    path.append(f"L{x(used.size):.1f},{base}Z")
    parts.append(f'<path class="area c1" d="{"".join(path)}"/>')
    parts.append(f'<line class="even" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(even):.1f}" y2="{y(even):.1f}"/>')
    return _svg("".join(parts), label)


def log_mel(x: np.ndarray, sample_rate: int, top_hz: float) -> np.ndarray:
    """Log-mel power in dB `[96, T']` of `x [T]`: 32 ms Hann windows, 10 ms apart, bands from 0 to `top_hz`."""
    import librosa

    window = 2 ** math.ceil(math.log2(0.032 * sample_rate))
    x = np.pad(x, (0, max(0, window - x.size)))
    power = librosa.feature.melspectrogram(
        y=x, sr=sample_rate, n_fft=window, hop_length=round(FRAME_S * sample_rate), n_mels=N_MELS, fmax=top_hz
    )
    return 10 * np.log10(np.maximum(power, 1e-12))


def spectrogram_uri(mel_db: np.ndarray, top_db: float) -> str:
    """`spectrogram` as a PNG in a data URI."""
    buffer = io.BytesIO()
    spectrogram(mel_db, top_db).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def spectrogram(mel_db: np.ndarray, top_db: float) -> Image.Image:
    """dB `[bands, T']` as a picture: low bands at the bottom, `top_db` bright, 80 dB under it black."""
    from matplotlib import colormaps
    from PIL import Image

    level = np.clip((mel_db[::-1] - top_db) / RANGE_DB + 1, 0, 1)
    image = Image.frombytes("P", level.shape[::-1], np.round(level * 255).astype(np.uint8).tobytes())
    image.putpalette((colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes())
    return image


class _Axis:
    """Values to places; ticks at round numbers."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False, pad: float = 0.0):
        self.log, self.start, self.end = log, start, end
        low, high = (math.log10(low), math.log10(high)) if log else (float(low), float(high))
        if high - low < 1e-12 * max(1.0, abs(high)):
            low, high = low - max(0.5, abs(low) * 0.1), high + max(0.5, abs(high) * 0.1)
        self.low, self.high = low - pad * (high - low), high + pad * (high - low)

    def __call__(self, value: float) -> float:
        v = math.log10(value) if self.log else value
        return self.start + (v - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int) -> list[float]:
        if self.log:
            decades = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            if len(decades) >= 2:
                step = max(1, math.ceil(len(decades) / 5))
                return [10.0**d for d in decades if (d - decades[0]) % step == 0]
            low, high = 10**self.low, 10**self.high
            d = math.floor(self.low)
            return [m * 10.0**e for e in (d, d + 1, d + 2) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
        raw = (self.high - self.low) / about
        unit = 10 ** math.floor(math.log10(raw))
        step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw - 1e-12)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _bins(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Step, mean, lowest and highest of each bin of neighbours; as they are where there are few."""
    order = np.argsort(steps, kind="stable")
    s, v = steps[order].astype(np.float64), values[order].astype(np.float64)
    if s.size <= BINS:
        return s, v, v, v
    groups = np.array_split(np.arange(s.size), BINS)
    step, mean = (np.array([a[g].mean() for g in groups]) for a in (s, v))
    lowest, highest = np.array([v[g].min() for g in groups]), np.array([v[g].max() for g in groups])
    return step, mean, lowest, highest


def _grid(x: _Axis, y: _Axis, percent: bool = False) -> list[str]:
    parts = []
    for v in y.ticks(4):
        at, text = f"{y(v):.1f}", short(v * 100) + " %" if percent else short(v)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at}" dy="0.32em" text-anchor="end">{text}</text>')
    ticks = x.ticks(5)
    for v in ticks:
        anchor = "middle" if x(v) < WIDTH - RIGHT - 12 else "end"
        parts.append(f'<text x="{x(v):.1f}" y="{HEIGHT - 7}" text-anchor="{anchor}">{short(v)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>')
    return parts


def short(v: float) -> str:
    """A number as an axis shows it: 12k, 1.5M, 0.002, 3e-05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(v) >= size:
            return f"{v / size:.4g}{letter}"
    return f"{round(v, 12):.4g}"


def _svg(inside: str, label: str) -> str:
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{inside}</svg>'
