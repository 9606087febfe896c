"""Speech rebuilt from its log-mel alone: what is left when the phase is thrown away and nothing is quantised.

Source: Griffin and Lim 1984, https://doi.org/10.1109/TASSP.1984.1164317; librosa's fast variant
(https://arxiv.org/abs/1309.1533v1) and its non-negative least squares from mel to linear frequency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiokd.eval.common import signal

if TYPE_CHECKING:
    from audiokd.eval.common import Signal


def griffin_lim(wav: Signal, sample_rate: int, n_mels: int = 80, iterations: int = 60) -> np.ndarray:
    """`wav` [T] as its mel magnitudes know it: 80 bands, 64 ms windows every 16 ms, phase found by iteration.

    Deterministic: the phases start at zero. Returns [T] float32 at the same rate.
    """
    import librosa

    x = signal(wav)
    n_fft = 1 << round(np.log2(0.064 * sample_rate))
    hop = n_fft // 4
    mel = librosa.feature.melspectrogram(y=x, sr=sample_rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels, power=1.0)
    magnitude = librosa.feature.inverse.mel_to_stft(mel, sr=sample_rate, n_fft=n_fft, power=1.0)
    out = librosa.griffinlim(magnitude, n_iter=iterations, hop_length=hop, n_fft=n_fft, length=len(x), init=None)
    return out.astype(np.float32)
