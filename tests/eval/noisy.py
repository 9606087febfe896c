"""Speech with noise at a known level."""

from __future__ import annotations

import numpy as np


def with_noise(x: np.ndarray, snr_db: float, seed: int = 0) -> np.ndarray:
    """`x` with white noise at a signal-to-noise ratio in dB, both without mean and the noise orthogonal to `x`."""
    noise = np.random.default_rng(seed).standard_normal(x.size)
    s = x.astype(np.float64) - x.mean()
    noise -= noise.mean()
    noise -= (noise @ s) / (s @ s) * s
    noise *= np.sqrt((s @ s) / (noise @ noise) / 10 ** (snr_db / 10))
    return (x + noise).astype(np.float32)
