"""Sound made louder or softer, with white noise under it: what two models hear of one stretch changes alike, at any rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audiokd.data.crops import rng_of


@dataclass(frozen=True)
class GainNoise:
    """A change of a waveform, a function of (seed, step, id). Level and noise are drawn before the samples of the noise: they are
    the same at any rate, and the noise is white up to half of it.

    Args:
        seed: of the run.
        gain_db: at most so much louder or softer.
        snr_db: of the noise at least, at most 20 dB more; None adds none.
    """

    seed: int
    gain_db: float
    snr_db: float | None

    def __call__(self, wav: np.ndarray, step: int, id: str) -> np.ndarray:
        """float32 [T] to [T]."""
        rng = rng_of(self.seed, "gain and noise", step, id)
        gain_db, above_db = rng.uniform(-self.gain_db, self.gain_db), rng.uniform(0, 20)
        if self.snr_db is not None:
            level = np.sqrt(np.mean(np.square(wav, dtype=np.float64))) * 10 ** (-(self.snr_db + above_db) / 20)
            wav = wav + level * rng.standard_normal(len(wav))
        return (wav * 10 ** (gain_db / 20)).astype(np.float32)
