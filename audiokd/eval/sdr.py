"""SDR of a separated source: how far what is left out and added lies below the source.

Source: Mitsufuji et al., "Music Demixing Challenge 2021", arXiv 2108.13559, equation 1, on one channel. MARBLE scores by it too;
it is not the median over windows that museval gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from audiokd.eval.common import Signal

DELTA = 1e-7  # of both energies: a silent source with a silent estimate has 0 dB


def sdr(ref: Signal, hyp: Signal) -> float:
    r"""Signal-to-distortion ratio in dB. Higher is better; the level counts, unlike in SI-SDR.

    .. math:: 10 \log_{10} \frac{\|s\|^2 + \delta}{\|s - \hat s\|^2 + \delta}

    Args:
        ref: the source s `[T]`.
        hyp: what was separated `[T]`.
    """
    s, e = np.asarray(ref, dtype=np.float64), np.asarray(hyp, dtype=np.float64)
    return float(10 * np.log10((s @ s + DELTA) / ((s - e) @ (s - e) + DELTA)))
