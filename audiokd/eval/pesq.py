"""PESQ: the ITU's model of how a listener would rate telephone speech against its original.

Source: ITU-T P.862.2 (wide band), https://www.itu.int/rec/T-REC-P.862.2. Computed by the package pesq.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiokd.data.audio import resample
from audiokd.eval.common import need, pair

if TYPE_CHECKING:
    from audiokd.eval.common import Signal

SAMPLE_RATE = 16_000
# The ITU's C code has room for 50 talk spurts and writes past it (a crash of the process, not an error) when there are
# more. A spurt is 200 ms or longer with 200 ms or more to the next: 19 s hold fewer than 50.
MAX_S = 19


def pesq(ref: Signal, hyp: Signal, sample_rate: int) -> float | None:
    """Wide-band PESQ, a mean opinion score (MOS-LQO). Higher is better.

    Both are resampled to 16 kHz. A clip over 19 s is scored in equal stretches of at most that, and their mean is
    taken over those with speech (other tools score it whole, and crash on some; P.862 was made for 8 to 30 s).

    Args:
        ref: the original `[T]`, float32.
        hyp: what is scored `[T]`; the longer of the two is cut at the end.
        sample_rate: of both, Hz.

    Returns:
        1.02 (bad) to 4.64 (equal); None where PESQ finds no speech, or the clip is shorter than 0.25 s.

    Raises:
        AudiokdError: pesq is not installed.
    """
    r, h = pair(ref, hyp)
    package = need("pesq")
    r, h = resample(r, sample_rate, SAMPLE_RATE), resample(h, sample_rate, SAMPLE_RATE)
    parts = -(-r.size // (MAX_S * SAMPLE_RATE))
    values = [_one(package, a, b) for a, b in zip(np.array_split(r, parts), np.array_split(h, parts))]
    with_speech = [v for v in values if v is not None]
    return float(np.mean(with_speech)) if with_speech else None


def _one(package, ref: np.ndarray, hyp: np.ndarray) -> float | None:
    if not ref.any():
        return None
    if not hyp.any():  # the package divides by the level of a silent signal; ask with the faintest noise instead
        hyp = np.full_like(hyp, 1e-6)
        hyp[::2] *= -1
    try:
        value = float(package.pesq(SAMPLE_RATE, ref, hyp, "wb"))
    except (package.NoUtterancesError, package.BufferTooShortError):
        return None
    return value if np.isfinite(value) else None
