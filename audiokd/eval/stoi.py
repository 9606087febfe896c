"""STOI: how much of the speech's temporal envelope is still there, which goes with intelligibility.

Source: Taal et al. 2011, https://doi.org/10.1109/TASL.2011.2114881; extended: Jensen and Taal 2016,
https://doi.org/10.1109/TASLP.2016.2585878. Computed by pystoi.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from audiokd.eval.common import need, pair

if TYPE_CHECKING:
    from audiokd.eval.common import Signal


def stoi(ref: Signal, hyp: Signal, sample_rate: int, extended: bool = False) -> float | None:
    """Short-time objective intelligibility. Higher is better, 1 is equal.

    Mean correlation of one-third octave envelopes over 384 ms stretches, where the reference is not silent. pystoi
    resamples to 10 kHz inside: what lies above 5 kHz is not heard.

    Args:
        ref: the original `[T]`, float32.
        hyp: what is scored `[T]`; the longer of the two is cut at the end.
        sample_rate: of both, Hz.
        extended: ESTOI, for noise that comes and goes.

    Returns:
        about 0 to 1 (a correlation: may be a little below 0); None where less than 384 ms of the reference is speech
        (pystoi would give 1e-5, which is no score).

    Raises:
        AudiokdError: pystoi is not installed.
    """
    r, h = pair(ref, hyp)
    measure = need("pystoi").stoi
    if not r.any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # "Not enough STFT frames"
        try:
            value = measure(r.astype(np.float64), h.astype(np.float64), sample_rate, extended=extended)
        except (RuntimeWarning, ValueError, IndexError):  # the latter two: shorter than one 25.6 ms frame
            return None
    return float(value)
