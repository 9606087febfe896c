"""The 10 ms grid on which tokens of any frame rate meet phones: neither a high nor a low rate is favoured by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audiokd.data.ctm import Phone

STEP_S = 0.01


def centres(start_s: float, end_s: float) -> np.ndarray:
    """Numbers k of the grid's points (k + 0.5) * 10 ms in [start_s, end_s). Shape: [K] int64."""
    first, last = (int(np.ceil(round(t / STEP_S - 0.5, 6))) for t in (start_s, end_s))  # 1.005 s is on the grid
    return np.arange(max(first, 0), max(last, 0))


def frame_of(points: np.ndarray, frame_rate: float) -> np.ndarray:
    """The frame that covers each point of the grid: frame t is heard from t to t + 1 over `frame_rate`. Shape: [K] int64."""
    return np.floor((points + 0.5) * STEP_S * frame_rate + 1e-9).astype(np.int64)


def phone_of(phones: Sequence[Phone], points: int) -> list[str | None]:
    """The phone that covers each of the first `points` points of the grid; None between phones."""
    labels: list[str | None] = [None] * points
    for phone in phones:
        for k in centres(phone.start_s, phone.end_s):
            if k < points:
                labels[k] = phone.label
    return labels
