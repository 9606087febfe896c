"""SI-SDR: how much of a signal is the reference, whatever its level.

Source: Le Roux et al. 2019, "SDR - half-baked or well done?", https://arxiv.org/abs/1811.02508, equation 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiokd.eval.common import pair

if TYPE_CHECKING:
    from audiokd.eval.common import Signal

LIMIT_DB = 100.0  # float32 audio cannot tell more; keeps equal signals out of infinity, so that a mean exists


def si_sdr(ref: Signal, hyp: Signal, sample_rate: int = 0) -> float | None:
    r"""Scale-invariant signal-to-distortion ratio in dB. Higher is better.

    .. math:: 10 \log_{10} \frac{\|\alpha s\|^2}{\|\hat s - \alpha s\|^2}, \quad \alpha = \frac{\hat s^\top s}{\|s\|^2}

    with both signals' means taken off. It compares waveforms sample by sample: a generative decoder that sounds right
    but has other phases, or a delay of a few samples, scores low.

    Args:
        ref: the original s `[T]`, float32.
        hyp: what is scored `[T]`; the longer of the two is cut at the end.
        sample_rate: not used; all metrics are called alike.

    Returns:
        dB within [-100, 100] (equal signals give 100, a silent `hyp` gives -100); None where the reference is silent.
    """
    s, e = (a.astype(np.float64) for a in pair(ref, hyp))
    s, e = s - s.mean(), e - e.mean()
    energy = float(s @ s)
    if energy == 0:
        return None
    target = (float(e @ s) / energy) * s
    kept, lost = float(target @ target), float((e - target) @ (e - target))
    if kept == 0:
        return -LIMIT_DB
    if lost == 0:
        return LIMIT_DB
    return float(np.clip(10 * np.log10(kept / lost), -LIMIT_DB, LIMIT_DB))
