"""STFT distance: spectral convergence plus log magnitude L1, over three resolutions.

Source: Parallel WaveGAN (Yamamoto et al. 2020, https://arxiv.org/abs/1910.11480, equations 4 to 6), its resolutions and
its floor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from audiokd.eval.common import pair

if TYPE_CHECKING:
    from audiokd.eval.common import Signal

RESOLUTIONS = ((1024, 600, 120), (2048, 1200, 240), (512, 240, 50))  # FFT size, window, hop in samples (table 1)
FLOOR = 1e-7  # of the power, as the authors' code: log of silence stays finite


def stft_distance(ref: Signal, hyp: Signal, sample_rate: int = 0) -> float | None:
    r"""Multi-resolution STFT distance. Lower is better, 0 is equal, a silent `hyp` is above 1.

    .. math:: \frac13 \sum_s \frac{\| |X_s| - |Y_s| \|_F}{\| |X_s| \|_F} + \mathrm{mean} |\ln|X_s| - \ln|Y_s||

    X is the reference. Resolutions are in samples: values at different sample rates are not comparable.

    Args:
        ref: the original `[T]`, float32.
        hyp: what is scored `[T]`; the longer of the two is cut at the end.
        sample_rate: not used; all metrics are called alike.

    Returns:
        the distance, no unit, 0 and up; None where the reference is silent (nothing to converge to).
    """
    r, h = (torch.from_numpy(np.ascontiguousarray(a)) for a in pair(ref, hyp))
    if not r.any():
        return None
    parts = []
    for n_fft, window, hop in RESOLUTIONS:
        x, y = magnitude(r, n_fft, window, hop), magnitude(h, n_fft, window, hop)
        convergence = torch.linalg.norm(x - y) / torch.linalg.norm(x)
        parts.append(convergence + (x.log() - y.log()).abs().mean())
    return float(torch.stack(parts).mean())


def magnitude(x: torch.Tensor, n_fft: int, window: int, hop: int) -> torch.Tensor:
    """STFT magnitudes `[n_fft / 2 + 1, T']` of `x [T]`, floored; a clip shorter than the FFT is padded with zeros."""
    x = torch.nn.functional.pad(x, (0, max(0, n_fft - x.numel())))
    spectrum = torch.stft(x, n_fft, hop, window, torch.hann_window(window), return_complex=True)
    return (spectrum.real**2 + spectrum.imag**2).clamp(min=FLOOR).sqrt()
