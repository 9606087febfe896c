"""Speaker similarity: do two clips sound like one voice?

The speaker encoder is Resemblyzer's: three LSTM layers over 40 mel bands, trained on speaker verification with the GE2E loss
(Wan et al. 2018, https://arxiv.org/abs/1710.10467). Only its weights are used (Apache-2.0, from the Python package Resemblyzer
0.1.4, fetched by name with a checksum where it is not installed): the package needs a compiler and an old `typing`. Unlike the
package's own preparation, silences are left in: its voice activity detector is that compiled part.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from audiokd.data.audio import resample
from audiokd.data.fetch import downloads_dir, fetch_pypi
from audiokd.eval.common import pair, signal

if TYPE_CHECKING:
    from audiokd.eval.common import Signal

PACKAGE = ("Resemblyzer", "0.1.4", "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f")
WEIGHTS = "resemblyzer/pretrained.pt"
SAMPLE_RATE = 16_000
WINDOW, HOP, BANDS = 400, 160, 40  # 25 ms, 10 ms
PIECE, STEP = 160, 77  # frames heard at once, and from one piece to the next: 1.6 s, 1.3 a second
LEAST = 0.75  # of the last piece that must be there, unless it is the only one
LEVEL = 10 ** (-30 / 20)  # quieter clips are raised to -30 dB full scale


class SpeakerEncoder(nn.Module):
    """Mel magnitudes of one voice to a vector of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """`[B, 160, 40]` mel power to `[B, 256]`, none of it below 0."""
        _, (hidden, _) = self.lstm(mels)
        return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1)


def speaker_similarity(ref: Signal, hyp: Signal, sample_rate: int) -> float | None:
    """Cosine of the two clips' voices. Higher is more alike; the same clip gives 1.

    Args:
        ref: the original `[T]`, float32.
        hyp: what is scored `[T]`; the longer of the two is cut at the end.
        sample_rate: of both, Hz.

    Returns:
        0 to 1; None where one of the clips is silent. Other voices are far above 0 too: compare with what two recordings of
        one speaker reach, and of two (`audiokd.eval.speaker_leakage`).
    """
    a, b = (speaker_embedding(x, sample_rate) for x in pair(ref, hyp))
    return None if a is None or b is None else float(a @ b)


def speaker_embedding(x: Signal, sample_rate: int, device: str = "cpu") -> np.ndarray | None:
    """The voice of a clip `[T]` as a vector `[256]` of length 1: the mean over pieces of 1.6 s; None for silence.

    Raises:
        AudiokdError: the weights cannot be had.
    """
    import librosa

    wav = signal(x)
    if not wav.any():
        return None
    wav = resample(wav, sample_rate, SAMPLE_RATE)
    wav = wav * max(1.0, LEVEL / float(np.sqrt(np.mean(wav.astype(np.float64) ** 2))))
    frames = wav.size // HOP + 1
    starts = list(range(0, max(1, frames - PIECE + STEP + 1), STEP))
    if len(starts) > 1 and (wav.size - starts[-1] * HOP) / (PIECE * HOP) < LEAST:
        starts.pop()
    wav = np.pad(wav, (0, max(0, (starts[-1] + PIECE) * HOP - wav.size)))
    mel = librosa.feature.melspectrogram(y=wav, sr=SAMPLE_RATE, n_fft=WINDOW, hop_length=HOP, n_mels=BANDS).T
    pieces = torch.from_numpy(np.stack([mel[s : s + PIECE] for s in starts]).astype(np.float32))
    with torch.inference_mode():
        mean = _encoder(device)(pieces.to(device)).mean(0)
    norm = float(mean.norm())
    return (mean / norm).cpu().numpy() if norm > 0 else None


@lru_cache(maxsize=2)
def _encoder(device: str) -> SpeakerEncoder:
    weights = torch.load(_weights(), map_location="cpu", weights_only=True)["model_state"]
    encoder = SpeakerEncoder()
    encoder.load_state_dict({k: weights[k] for k in encoder.state_dict()})
    return encoder.eval().requires_grad_(False).to(device)


def _weights() -> Path:
    installed = importlib.util.find_spec("resemblyzer")
    if installed is not None and installed.submodule_search_locations:
        return Path(installed.submodule_search_locations[0]) / Path(WEIGHTS).name
    return fetch_pypi(*PACKAGE, downloads_dir() / "resemblyzer", [WEIGHTS])[0]
