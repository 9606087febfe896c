"""ATST's log-mel: torchaudio's transforms clip by clip, whatever stands beside a clip in its batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf
import torch
import torchaudio
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.frontends import atst_mel
from audiokd.frontends.atst_mel import ATSTLogMel

LENGTHS = [513, 16_000, 96_000, 50_001]


@pytest.fixture(scope="module")
def clips(two_cities: Path) -> list[Tensor]:
    """Speech from different places, one of them quiet, so that a floor of the batch would not be its own."""
    x, _ = sf.read(two_cities, dtype="float32", frames=20 * 48_000)
    wav = torch.from_numpy(x[::3].copy())
    return [wav[i * 50_000 : i * 50_000 + n] * (0.001 if i == 1 else 1.0) for i, n in enumerate(LENGTHS)]


def padded(clips: list[Tensor]) -> tuple[Tensor, Tensor]:
    wav = torch.full((len(clips), max(LENGTHS)), 0.5)  # not zeros: what lies past the end is not heard
    for row, clip in zip(wav, clips):
        row[: len(clip)] = clip
    return wav, torch.tensor([len(c) for c in clips])


@pytest.mark.parametrize("win_length", [1024, 640])
def test_equals_torchaudio(clips: list[Tensor], win_length: int) -> None:
    mel = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=1024, win_length=win_length, hop_length=160, f_min=60, f_max=7800, n_mels=64
    )
    db = torchaudio.transforms.AmplitudeToDB(stype="power", top_db=80)
    for clip in clips:
        official = 2 * (db(mel(clip[None])) + 79.6482) / (50.6842 + 79.6482) - 1
        ours, frames = ATSTLogMel(win_length)(clip[None])
        assert ours.shape == (1, 64, len(clip) // 160 + 1)
        assert int(frames) == ours.shape[-1]
        torch.testing.assert_close(ours, official, atol=2e-6, rtol=0)


def test_batch_equals_alone(clips: list[Tensor]) -> None:
    wav, lengths = padded(clips)
    together, frames = ATSTLogMel()(wav, lengths)
    for i, clip in enumerate(clips):
        n = int(frames[i])
        alone, _ = ATSTLogMel()(clip[None])
        torch.testing.assert_close(together[i : i + 1, :, :n], alone, atol=1e-6, rtol=0)
        assert not together[i, :, n:].any()


def test_all_at_once_equals_one_by_one(clips: list[Tensor]) -> None:
    """What a GPU runs, on this machine."""
    front, (wav, lengths) = ATSTLogMel(), padded(clips)
    one_by_one, frames = front(wav, lengths)
    valid = torch.arange(one_by_one.shape[-1]) < frames[:, None]
    at_once = front._log_mel(atst_mel._mirror_each_end(wav, lengths), valid[:, None])
    torch.testing.assert_close(at_once, one_by_one, atol=2e-6, rtol=0)


def test_silence_is_finite() -> None:
    mel, _ = ATSTLogMel()(torch.zeros(1, 16_000))
    assert mel.unique().numel() == 1  # the floor of an empty clip is its maximum
    assert torch.isfinite(mel).all()


def test_too_short_a_clip_is_named() -> None:
    with pytest.raises(AudiokdError, match="item 1 has 512 samples"):
        ATSTLogMel()(torch.zeros(2, 1000), torch.tensor([1000, 512]))
