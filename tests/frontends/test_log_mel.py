"""Whisper's log-mel equals transformers', item by item, and lets gradients through."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional as F
from transformers import WhisperFeatureExtractor

from audiokd.frontends.log_mel import WhisperLogMel, _constants

WINDOW = 480_000


def _read(path: Path, seconds: float = 30) -> Tensor:
    rate = sf.info(path).samplerate
    x, _ = sf.read(path, dtype="float32", frames=int(seconds * rate))
    return torchaudio.functional.resample(torch.from_numpy(x), rate, 16000)[: int(seconds * 16000)]


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("name", ["two_cities", "beckett"])
def test_equals_transformers(name: str, n_mels: int, request: pytest.FixtureRequest) -> None:
    wav = _read(request.getfixturevalue(name))
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    want = extractor(wav.numpy(), sampling_rate=16000, return_tensors="pt").input_features
    got = WhisperLogMel(n_mels)(F.pad(wav, (0, WINDOW - len(wav)))[None])
    assert got.shape == (1, n_mels, 3000)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_gradient_reaches_the_waveform(beckett: Path) -> None:
    wav = _read(beckett, 2)[None].repeat(2, 1)
    wav[0, 8000:16000] = 0  # digital silence in the middle
    wav[1] = 0
    wav.requires_grad_()
    mel = WhisperLogMel()(wav)
    mel.square().sum().backward()
    assert mel.isfinite().all()
    assert wav.grad.isfinite().all()
    assert wav.grad[0, :7000].abs().max() > 0


def test_gradient_is_the_derivative(beckett: Path) -> None:
    wav = _read(beckett, 1.5)[None, 16000:20000].requires_grad_()
    net = WhisperLogMel()
    mel = net(wav)
    loud = mel.detach() > mel.max().item() - 0.5  # two decades: there a small step stays linear
    mel[loud].sum().backward()
    step = 1e-3 * wav.detach().roll(37, -1)
    with torch.no_grad():
        slope = (net(wav + step)[loud].double().sum() - net(wav - step)[loud].double().sum()) / 2
    assert (wav.grad * step).sum().item() == pytest.approx(slope.item(), rel=0.02)


def test_floor_is_each_items_own_or_the_batchs(beckett: Path) -> None:
    loud = _read(beckett, 2)
    batch = torch.stack([loud, 1e-4 * loud])
    item, whole = WhisperLogMel(floor="item"), WhisperLogMel(floor="batch")
    assert torch.equal(item(batch)[1], item(batch[1:])[0])  # a loud mate changes nothing
    torch.testing.assert_close(whole(batch[1:]), item(batch[1:]), rtol=0, atol=0)
    # openai-whisper's log_mel_spectrogram: log_spec.max() over all it is given
    mel = (_constants(80, torch.device("cpu"))[1] @ _power(batch)).clamp(min=1e-10).log10()
    want = (torch.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0
    torch.testing.assert_close(whole(batch), want, rtol=0, atol=1e-6)
    assert (whole(batch)[1] - item(batch)[1]).abs().max() > 0.1


def test_autocast_changes_nothing(beckett: Path) -> None:
    wav = _read(beckett, 1)[None]
    want = WhisperLogMel()(wav)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(WhisperLogMel()(wav), want)


def _power(wav: Tensor) -> Tensor:
    spec = torch.stft(wav, 400, 160, window=torch.hann_window(400), return_complex=True)
    return spec[..., :-1].abs() ** 2
