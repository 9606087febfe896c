"""The constant-Q transform beside nnAudio's and librosa's, on speech and on tones."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf
import torch
from nnAudio.features import CQT as NNAudioCQT
from torch import Tensor

from audiokd.frontends.cqt import CQT, KEPT


@pytest.fixture(scope="module")
def cqt() -> CQT:
    return CQT()


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> Tensor:
    x, _ = sf.read(two_cities, dtype="float32", frames=144_000)
    return torch.from_numpy(x[::2].copy())[None]  # 3 s at 24 kHz


def test_equals_nnaudio(cqt: CQT, speech: Tensor) -> None:
    """MERT's call, whose kernels are 336 x 65,536 twice; of two lengths, for what is kept of one is not for another."""
    whole = NNAudioCQT(
        sr=24_000, hop_length=320, fmin=32.7, n_bins=336, bins_per_octave=48, pad_mode="constant", verbose=False
    )
    noise = torch.randn(1, 5_000, generator=torch.Generator().manual_seed(0))
    for wav in (speech, speech[:, :50_017], noise, noise[:, :700], speech):
        n = wav.shape[1]
        expected = whole(wav)[0].T
        got, frames = cqt(wav)
        assert got.shape[1] == int(frames) == len(expected) == n // 320 + 1
        torch.testing.assert_close(got[0], expected, atol=1e-5, rtol=1e-4)


def test_what_is_kept_is_bounded(cqt: CQT) -> None:
    for seconds in range(1, 8):
        cqt(torch.zeros(1, 24_000 * seconds))
    assert len(cqt._spectra) == KEPT


def test_equals_librosa_where_it_resamples_nothing(cqt: CQT) -> None:
    """The upper octave of a tone and of noise in it: librosa's downsampling is for the octaves below."""
    t = np.arange(48_000) / 24_000
    tone = np.sin(2 * np.pi * 2500 * t) + 0.3 * np.sin(2 * np.pi * 3300 * t)
    theirs = np.abs(
        librosa.cqt(
            tone.astype(np.float32), sr=24_000, hop_length=320, fmin=32.7, n_bins=336, bins_per_octave=48, norm=1
        )
    ).T
    ours = cqt(torch.from_numpy(tone).float()[None])[0][0].numpy()
    assert theirs.shape == ours.shape
    middle = slice(60, 90)
    assert (ours[middle].argmax(1) == theirs[middle].argmax(1)).all()
    np.testing.assert_allclose(ours[middle, 288:], theirs[middle, 288:], atol=0.02 * theirs.max())


def test_a_tone_is_where_it_is(cqt: CQT) -> None:
    """Bin k is 32.7 Hz times 2^(k / 48)."""
    for k in (24, 100, 200, 330):
        f = 32.7 * 2 ** (k / 48)
        wav = torch.sin(2 * torch.pi * f * torch.arange(72_000) / 24_000)[None]
        assert set(cqt(wav)[0][0, 100:126].argmax(-1).tolist()) == {k}


def test_a_click_is_in_its_frame(cqt: CQT) -> None:
    """Frames are centred: a click at sample 320 n is in frame n, sharpest in the highest bins."""
    wav = torch.zeros(1, 48_000)
    wav[0, 320 * 70] = 1.0
    top = cqt(wav)[0][0, :, 300:].sum(-1)
    assert int(top.argmax()) == 70


def test_alone_equals_in_a_batch_and_silence_is_zero(cqt: CQT, speech: Tensor) -> None:
    lengths = torch.tensor([72_000, 30_001, 400])
    wav = speech.repeat(3, 1) + 0.1 * torch.randn(3, 72_000, generator=torch.Generator().manual_seed(0))
    together, frames = cqt(wav, lengths)
    assert frames.tolist() == [226, 94, 2]
    for i, n in enumerate(lengths.tolist()):
        alone, _ = cqt(wav[i : i + 1, :n])
        torch.testing.assert_close(together[i, : frames[i]], alone[0], atol=1e-6, rtol=1e-5)
        assert not together[i, frames[i] :].any()
    assert not cqt(torch.zeros(1, 24_000))[0].any()
