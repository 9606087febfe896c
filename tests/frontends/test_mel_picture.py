"""Log-mel pictures of a real recording, and back to sound."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import ConfigError
from audiokd.frontends.mel_picture import MelPicture


def test_a_picture_and_back(beckett: Path) -> None:
    mel = MelPicture()
    wav = load_at(Utterance("a", str(beckett)), 16000)[16000 : 16000 + mel.samples]
    x = mel.picture(wav)
    assert (x.shape, x.dtype) == ((1, 64, 64), np.float32)
    assert -1 <= x.min() < 0
    assert x.max() <= 1
    expected = librosa.feature.melspectrogram(y=wav, sr=16000, n_fft=1024, hop_length=256, n_mels=64, power=1.0)[:, :64]
    db = np.maximum(20 * np.log10(expected), -80)
    np.testing.assert_allclose(mel.decibels(x), db.T, atol=2e-3)
    np.testing.assert_allclose(mel.log_mel(x), np.log(10 ** (db.T / 20)), atol=1e-3)
    back = mel.sound(x)
    assert back.shape == (mel.samples,)
    assert np.array_equal(back, mel.sound(x))
    again = mel.picture(back)
    noise = mel.picture(np.random.default_rng(0).normal(size=mel.samples).astype(np.float32) * wav.std())
    assert np.abs(again - x).mean() < 0.25 * np.abs(noise - x).mean()


def test_short_and_silent_sounds() -> None:
    mel = MelPicture(frames=8, n_mels=16)
    assert mel.picture(np.zeros(0, np.float32)).shape == (1, 8, 16)
    assert (mel.picture(np.zeros(100, np.float32)) == -1).all()
    assert not mel.sound(np.full((1, 8, 16), -1.0, np.float32)).any()
    long = np.random.default_rng(0).normal(size=9 * mel.samples).astype(np.float32)
    assert np.array_equal(mel.picture(long), mel.picture(long[: mel.samples]))


@pytest.mark.parametrize("bad", [{"frames": 0}, {"low_db": 40.0}, {"hop_length": 2048}])
def test_sizes_that_are_none(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="no mel pictures"):
        MelPicture(**bad)  # type: ignore[arg-type]
