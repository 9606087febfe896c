"""A clip for a page: cut, resampled and packed as FLAC in a data URI, so that the page needs no other file."""

from __future__ import annotations

import base64
import io

import numpy as np

MAX_S, MAX_RATE = 6.0, 24_000


def clip(wav: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
    """The first 6 s of `wav [T]`, at 24 kHz at most. NaN and infinity become 0, so that a diverged model can be shown.

    Args:
        wav: float samples in [-1, 1] `[T]`, numpy or torch.
        sample_rate: Hz.

    Returns:
        float32 samples `[T']` and their rate.
    """
    x = np.asarray(wav.detach().cpu() if hasattr(wav, "detach") else wav, dtype=np.float32).reshape(-1)
    x = np.nan_to_num(x[: int(MAX_S * sample_rate)], nan=0.0, posinf=0.0, neginf=0.0)
    if sample_rate <= MAX_RATE:
        return x, sample_rate
    from scipy.signal import resample_poly

    common = int(np.gcd(sample_rate, MAX_RATE))
    return resample_poly(x, MAX_RATE // common, sample_rate // common).astype(np.float32), MAX_RATE


def flac_uri(x: np.ndarray, sample_rate: int) -> str:
    """`x [T]` as 16-bit FLAC in a data URI. What is over full scale is clipped."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(x, -1.0, 1.0), sample_rate, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode()
