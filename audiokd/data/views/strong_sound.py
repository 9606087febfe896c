"""A strong change of a stretch of sound, as RandAugment is one of a picture: what it is a sound of stays.

Gain, additive noise, and one of two things that are taken away: a band of frequencies, or some time. S3A (arXiv 2308.12960) has
pictures alone; what its weak and strong views differ by is ours for sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audiokd.data.crops import rng_of


@dataclass(frozen=True)
class StrongSound:
    """Changes waveforms; what is drawn is a function of (seed, step, id).

    Args:
        seed: of the run.
        gain_db: at most, up or down.
        least_snr_db, most_snr_db: of white noise that is added, against the stretch's own power.
        octaves: width of the band that is taken away, at most; it lies anywhere below half the sample rate.
        time_share: of the stretch that is silenced, at most.
    """

    seed: int
    gain_db: float = 6.0
    least_snr_db: float = 10.0
    most_snr_db: float = 30.0
    octaves: float = 2.0
    time_share: float = 0.3

    def __call__(self, wav: np.ndarray, step: int, id: str) -> np.ndarray:
        """`wav` float32 [T], one sample at least, changed: [T] anew."""
        rng = rng_of(self.seed, "strong_sound", step, id)
        gain = 10 ** (rng.uniform(-self.gain_db, self.gain_db) / 20)
        snr = 10 ** (rng.uniform(self.least_snr_db, self.most_snr_db) / 20)
        band, share, place = rng.random() < 0.5, rng.random(), rng.random()
        rms = float(np.sqrt(np.mean(np.square(wav, dtype=np.float64))))
        out = wav + rng.standard_normal(len(wav)) * (rms / snr)
        out = self._without_band(out, share, place) if band else self._without_time(out, share, place)
        return (out * gain).astype(np.float32)

    def _without_band(self, wav: np.ndarray, share: float, place: float) -> np.ndarray:
        bins = len(wav) // 2 + 1
        width = 2 ** (self.octaves * share)
        low = 2 ** (place * max(np.log2(bins / width), 0.0))  # evenly spread over octaves, as hearing is
        spectrum = np.fft.rfft(wav)
        spectrum[int(low) : int(np.ceil(low * width))] = 0
        return np.fft.irfft(spectrum, len(wav))

    def _without_time(self, wav: np.ndarray, share: float, place: float) -> np.ndarray:
        size = int(self.time_share * share * len(wav))
        start = int(place * (len(wav) - size))
        wav[start : start + size] = 0
        return wav
