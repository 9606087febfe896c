"""Mel distance: how far the log-mel spectrograms of two signals are apart, over several window lengths.

Source: the mel reconstruction term of DAC (Kumar et al. 2023, https://arxiv.org/abs/2306.06546, section 3.4), which
sums it over windows and uses it as a loss; here it is the mean over windows, so that the unit keeps its meaning.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from audiokd.eval.common import pair

if TYPE_CHECKING:
    from audiokd.eval.common import Signal

# window in samples -> mel bands: DAC has 40 80 160 320 here; half of that leaves no band without a bin at 8 to 48 kHz
BANDS = {256: 20, 512: 40, 1024: 80, 2048: 160}
FLOOR = 1e-5  # of the mel magnitude, as DAC: below it all is silence


def mel_distance(ref: Signal, hyp: Signal, sample_rate: int) -> float:
    r"""Multi-resolution L1 distance of log10 mel magnitudes. Lower is better, 0 is equal, 0.05 is 1 dB.

    .. math:: \frac14 \sum_{w} \mathrm{mean}_{t,m} |\log_{10}\max(M_w|X_w|, 10^{-5}) - \log_{10}\max(M_w|Y_w|, 10^{-5})|

    with windows w of 256, 512, 1024 and 2048 samples (Hann, hop w/4, centred, reflected edges) and 20, 40, 80 and 160
    Slaney mel bands from 0 Hz to half the sample rate. The windows are samples, not seconds: values at different
    sample rates are not comparable.

    Args:
        ref: the original `[T]`, float32.
        hyp: what is scored `[T]`; the longer of the two is cut at the end.
        sample_rate: of both, Hz.

    Returns:
        mean absolute difference in decades of magnitude, 0 and up (1 is a factor of ten, 20 dB, in every band).
    """
    r, h = (torch.from_numpy(np.ascontiguousarray(a)) for a in pair(ref, hyp))
    parts = [(log_mel(r, w, sample_rate) - log_mel(h, w, sample_rate)).abs().mean() for w in BANDS]
    return float(torch.stack(parts).mean())


def log_mel(x: torch.Tensor, window: int, sample_rate: int) -> torch.Tensor:
    """log10 mel magnitudes `[bands, T']` of `x [T]`; a clip shorter than the window is padded with zeros."""
    x = torch.nn.functional.pad(x, (0, max(0, window - x.numel())))
    hann, mel = torch.hann_window(window), _mel(window, sample_rate)
    magnitude = torch.stft(x, window, window // 4, window=hann, return_complex=True).abs()
    return torch.log10((mel @ magnitude).clamp(min=FLOOR))


@lru_cache(maxsize=32)
def _mel(window: int, sample_rate: int) -> torch.Tensor:
    import librosa

    return torch.from_numpy(librosa.filters.mel(sr=sample_rate, n_fft=window, n_mels=BANDS[window]))
