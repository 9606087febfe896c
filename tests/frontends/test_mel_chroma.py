"""Log-mel and chroma: librosa's numbers, a frame for the samples that it stands for, and parts of a whole."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.frontends.mel_chroma import N_FFT, MelChroma


@pytest.fixture(scope="module")
def wav(two_cities: Path) -> np.ndarray:
    return load_at(Utterance("a", str(two_cities)), 24_000)[: 3 * 24_000 + 17]


def test_librosas_numbers(wav: np.ndarray) -> None:
    mel, chroma = (x[0].numpy() for x in MelChroma()(torch.from_numpy(wav)[None]))
    assert (mel.shape, chroma.shape) == ((226, 80), (226, 12))
    before = (N_FFT - 320) // 2
    padded = np.pad(wav, (before, N_FFT))
    common = {"sr": 24_000, "n_fft": N_FFT, "hop_length": 320, "center": False}
    expected = librosa.power_to_db(librosa.feature.melspectrogram(y=padded, n_mels=80, **common), top_db=None).T[:226]
    np.testing.assert_allclose(mel, expected, atol=0.02)  # decibels
    classes = librosa.feature.chroma_stft(y=padded, tuning=0.0, **common).T[:226]
    np.testing.assert_allclose(chroma, classes, atol=1e-3)


def test_a_tone_has_its_class_and_a_click_its_frame() -> None:
    t = torch.arange(24_000) / 24_000
    _, chroma = MelChroma()(torch.sin(2 * torch.pi * 440 * t)[None])
    assert int(chroma[0, 30].argmax()) == 9  # A
    click = torch.zeros(1, 24_000)
    for at in (3210, 3510, 10_000):
        click[:] = 0
        click[0, at] = 1
        mel, _ = MelChroma()(click)
        assert int(mel[0].sum(-1).argmax()) == at // 320


def test_parts_are_parts_of_the_whole(wav: np.ndarray) -> None:
    x = torch.from_numpy(wav)[None]
    front = MelChroma()
    whole = front(x)
    for first in (0, 1, 100, 225):
        for mine, all_of_it in zip(front(x, first, 50), whole):
            torch.testing.assert_close(mine, all_of_it[:, first : first + 50], atol=1e-3, rtol=0)


def test_silence_is_finite() -> None:
    for x in MelChroma()(torch.zeros(1, 1)):
        assert x.shape[1] == 1
        assert torch.isfinite(x).all()
