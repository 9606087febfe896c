"""The multi-scale mel loss against librosa, on real speech."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf
import torch

from audiokd.losses.mel import MultiScaleMelLoss

SCALES = {256: 40, 512: 80, 1024: 160, 2048: 320}


def _crop(path: Path, start_s: float, rate: int = 24000) -> np.ndarray:
    """A second of a recording at 24 kHz."""
    at = sf.info(path).samplerate
    x, _ = sf.read(path, dtype="float32", start=int(start_s * at), frames=at)
    return librosa.resample(x, orig_sr=at, target_sr=rate, res_type="polyphase")


def _librosa_loss(x: np.ndarray, y: np.ndarray, rate: int) -> float:
    total = 0.0
    for window, n_mels in SCALES.items():
        filters = librosa.filters.mel(sr=rate, n_fft=window, n_mels=n_mels, htk=False, norm="slaney", dtype=np.float64)
        kw = {"n_fft": window, "hop_length": window // 4, "window": "hann", "center": True, "pad_mode": "reflect"}
        a, b = (filters @ np.abs(librosa.stft(s.astype(np.float64), **kw)) for s in (x, y))
        logs = [np.log10(np.maximum(m, 1e-5) ** 2) for m in (a, b)]
        total += np.abs(logs[0] - logs[1]).mean() + np.abs(a - b).mean()
    return total


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_equals_librosa(two_cities: Path) -> None:
    x, y = _crop(two_cities, 3.0), _crop(two_cities, 20.0)
    quiet = 0.1 * y
    loss = MultiScaleMelLoss(24000)
    one = loss(torch.from_numpy(x)[None], torch.from_numpy(y)[None]).item()
    assert one == pytest.approx(_librosa_loss(x, y, 24000), rel=1e-4)
    both = loss(torch.from_numpy(np.stack([x, quiet])), torch.from_numpy(np.stack([y, x]))).item()
    assert both == pytest.approx((one + _librosa_loss(quiet, x, 24000)) / 2, rel=1e-4)


def test_zero_for_the_same_and_no_gradient_to_the_original(beckett: Path) -> None:
    x = torch.from_numpy(_crop(beckett, 1.0))[None]
    y = (0.9 * x).requires_grad_()
    loss = MultiScaleMelLoss(24000)
    assert loss(x, x).item() == 0
    x.requires_grad_()
    loss(y, x).backward()
    assert x.grad is None
    assert y.grad.abs().max() > 0


def test_gradient_of_silence_is_finite(beckett: Path) -> None:
    original = torch.from_numpy(_crop(beckett, 1.0))[None]
    half = original.clone()
    half[:, 12000:] = 0
    for rebuilt in (torch.zeros_like(original), half):
        rebuilt.requires_grad_()
        value = MultiScaleMelLoss(24000)(rebuilt, original)
        value.backward()
        assert value.isfinite()
        assert rebuilt.grad.isfinite().all()
