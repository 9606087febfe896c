"""Log-mel spectrograms as pictures that a diffusion model makes, and the sound of such a picture.

Magnitudes of librosa's mel bands in decibels, an affine map of [low_db, high_db] to [-1, 1]; a picture is [1, frames, n_mels], time
along its height as AudioLDM's is (arXiv 2301.12503). The way back is non-negative least squares to linear frequency and Griffin and
Lim's phases (https://doi.org/10.1109/TASSP.1984.1164317; librosa's fast variant, arXiv 1309.1533), which begin at zero: the same
picture gives the same sound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from audiokd.errors import ConfigError


@dataclass(frozen=True)
class MelPicture:
    """What the pictures are.

    Args:
        sample_rate: Hz.
        n_fft: window in samples, periodic Hann.
        hop_length: samples between frames.
        n_mels: bands; the picture's width.
        frames: the picture's height; a sound has frames * hop_length samples, and silence follows a shorter one.
        low_db, high_db: magnitudes that become -1 and 1; what lies beyond is clipped.
        iterations: of Griffin and Lim.

    Raises:
        ConfigError: sizes that are none.
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 64
    frames: int = 64
    low_db: float = -80.0
    high_db: float = 40.0
    iterations: int = 60

    def __post_init__(self) -> None:
        sizes = (self.sample_rate, self.n_fft, self.hop_length, self.n_mels, self.frames, self.iterations)
        if min(sizes) < 1 or self.low_db >= self.high_db or self.hop_length > self.n_fft:
            fix = "sizes of 1 and more, low_db under high_db, hop_length no more than n_fft"
            raise ConfigError(f"no mel pictures can be made so: {self}", fix=fix)

    @property
    def samples(self) -> int:
        """Of a sound."""
        return self.frames * self.hop_length

    @property
    def duration_s(self) -> float:
        """Of a sound."""
        return self.samples / self.sample_rate

    def picture(self, wav: np.ndarray) -> np.ndarray:
        """float32 [1, frames, n_mels] of `wav` [T] at `sample_rate`, from its first sample on."""
        import librosa

        x = np.zeros(self.samples, np.float32)
        x[: len(wav)] = wav[: self.samples]
        mel = librosa.feature.melspectrogram(
            y=x, sr=self.sample_rate, n_fft=self.n_fft, hop_length=self.hop_length, n_mels=self.n_mels, power=1.0
        )[:, : self.frames]
        db = 20 * np.log10(np.maximum(mel, 10 ** (self.low_db / 20)))
        scaled = (db - self.low_db) / (self.high_db - self.low_db) * 2 - 1
        return np.clip(scaled, -1, 1).T[None].astype(np.float32)

    def decibels(self, picture: np.ndarray) -> np.ndarray:
        """Magnitudes [frames, n_mels] of a picture [1, frames, n_mels], in decibels."""
        return (np.clip(picture[0], -1, 1) + 1) / 2 * (self.high_db - self.low_db) + self.low_db

    def log_mel(self, picture: np.ndarray) -> np.ndarray:
        """Natural logarithms of the magnitudes [frames, n_mels], which vocoders of the HiFi-GAN kind take."""
        return (self.decibels(picture) * (math.log(10) / 20)).astype(np.float32)

    def sound(self, picture: np.ndarray) -> np.ndarray:
        """float32 [samples] of a picture [1, frames, n_mels]."""
        import librosa

        db = self.decibels(picture)
        magnitudes = np.where(db <= self.low_db, 0.0, 10 ** (db / 20)).T  # the floor stands for silence
        linear = librosa.feature.inverse.mel_to_stft(magnitudes, sr=self.sample_rate, n_fft=self.n_fft, power=1.0)
        linear = np.pad(linear, ((0, 0), (0, 1)), mode="edge")  # frames are centred: half a window more ends the sound
        wav = librosa.griffinlim(
            linear, n_iter=self.iterations, hop_length=self.hop_length, n_fft=self.n_fft, length=self.samples, init=None
        )
        return wav.astype(np.float32)
