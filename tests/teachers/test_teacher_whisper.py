"""The frozen Whisper encoder: transformers' own numbers, padding that is not seen, and a teacher that stays a teacher."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import soundfile as sf
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from audiokd.errors import AudiokdError
from audiokd.teachers.whisper import WhisperTeacher

LIMIT = 480_000


@pytest.fixture(scope="module")
def speech(beckett: Path) -> Tensor:
    """Ten seconds at 16 kHz [T]."""
    x, rate = sf.read(beckett, dtype="float32")
    assert rate == 16000
    return torch.from_numpy(x)


@pytest.fixture(scope="module")
def stock(whisper_dir: Path) -> WhisperModel:
    return WhisperModel.from_pretrained(whisper_dir).eval()


@pytest.fixture(scope="module")
def crop(whisper_dir: Path) -> WhisperTeacher:
    return WhisperTeacher.from_pretrained(str(whisper_dir))


@pytest.fixture(scope="module")
def full(whisper_dir: Path) -> WhisperTeacher:
    return WhisperTeacher.from_pretrained(str(whisper_dir), "full")


@torch.no_grad()
def test_full_window_equals_transformers(full: WhisperTeacher, stock: WhisperModel, speech: Tensor) -> None:
    mel = full.log_mel(F.pad(speech, (0, LIMIT - len(speech)))[None])
    want = stock.encoder(mel).last_hidden_state
    torch.testing.assert_close(full._encode(mel, None), want, rtol=0, atol=1e-5)  # the same mel: the same numbers
    got, frames = full(speech[None])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
    assert (got.shape, frames.tolist(), full.dim) == ((1, 1500, 384), [1500], 384)
    extractor = WhisperFeatureExtractor.from_pretrained(stock.config.name_or_path)
    official = extractor(speech.numpy(), sampling_rate=16000, return_tensors="pt").input_features
    # the two log-mels differ by 1e-6 (float32 against float64); features reach 24, attention makes 100 times of it
    torch.testing.assert_close(got, stock.encoder(official).last_hidden_state, rtol=0, atol=1e-3)


@torch.no_grad()
def test_crop_of_30_s_is_the_full_window(crop: WhisperTeacher, full: WhisperTeacher, speech: Tensor) -> None:
    wav = F.pad(speech.repeat(3)[:LIMIT], (0, LIMIT - min(3 * len(speech), LIMIT)))[None]
    wav[:, -400:] = 0  # where the one reflects and the other has zeros
    got, frames = crop(wav)
    assert frames.tolist() == [1500]
    torch.testing.assert_close(got, full(wav)[0], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_crop_batch_equals_alone(attention: str, whisper_dir: Path, speech: Tensor) -> None:
    model = WhisperModel.from_pretrained(whisper_dir, attn_implementation=attention)
    teacher = WhisperTeacher(model.encoder, "crop")
    lengths = [48_000, 16_001, 33_333]
    batch = torch.stack([speech[s : s + 48_000] for s in (0, 20_000, 60_000)])  # what follows an item is more speech
    got, frames = teacher(batch, torch.tensor(lengths))
    assert frames.tolist() == [150, 51, 105]
    for i, n in enumerate(lengths):
        alone, t = teacher(batch[i : i + 1, :n])
        assert t.tolist() == [alone.shape[1]] == [frames[i]]
        torch.testing.assert_close(got[i : i + 1, : t[0]], alone, rtol=0, atol=1e-4)
    unmasked = teacher._encode(teacher.log_mel(batch), None)
    assert (unmasked[1, :51] - got[1, :51]).abs().max() > 0.1  # the mask is not idle
    shorter, _ = teacher(batch[1:], torch.tensor(lengths[1:]))  # a batch wider than its longest item
    torch.testing.assert_close(shorter, got[1:, :105], rtol=0, atol=1e-4)


@torch.no_grad()
def test_full_batch_ignores_what_lies_past_the_end(full: WhisperTeacher, speech: Tensor) -> None:
    n = torch.tensor([16_000])
    got, _ = full(speech[None, :32_000], n)
    torch.testing.assert_close(got, full(speech[None, :16_000])[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_every_layer_is_transformers_own(full: WhisperTeacher, stock: WhisperModel, speech: Tensor) -> None:
    mel = full.log_mel(F.pad(speech[:16_000], (0, LIMIT - 16_000))[None])
    want = stock.encoder(mel, output_hidden_states=True).hidden_states
    assert len(want) == 5
    for k in (0, 2, 4):
        teacher = WhisperTeacher(full.net, "full", layer=k)
        torch.testing.assert_close(teacher(speech[None, :16_000])[0], want[k], rtol=0, atol=1e-5)
    mean = WhisperTeacher(full.net, "full", layer="mean")(speech[None, :16_000])[0]
    torch.testing.assert_close(mean, torch.stack(want).mean(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", [-1, 5, "last", 1.5])
def test_no_such_layer(crop: WhisperTeacher, layer: object) -> None:
    with pytest.raises(
        AudiokdError, match=r"no layer .*: this teacher has 4 layers\n  use 0 .* to 4, mean, normed, or null"
    ):
        WhisperTeacher(crop.net, layer=layer)


def test_targets(crop: WhisperTeacher, speech: Tensor) -> None:
    wav = speech[None, :8000].clone().requires_grad_()
    out = crop.targets({"wav": wav, "lengths": torch.tensor([8000])})
    assert out["features"].shape == (1, 25, 384)
    assert out["feature_lengths"].tolist() == [25]
    assert not out["features"].requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(crop.targets({"wav": wav})["features"], out["features"])


def test_gradient_reaches_the_waveform_only(crop: WhisperTeacher, speech: Tensor) -> None:
    wav = torch.stack([speech[:16_000], speech[16_000:32_000]]).requires_grad_()
    crop(wav, torch.tensor([16_000, 8_000]))[0].square().mean().backward()
    assert wav.grad.isfinite().all()
    assert wav.grad[0].abs().max() > 0
    assert not wav.grad[1, 8_000:].any()
    assert all(p.grad is None and not p.requires_grad for p in crop.net.parameters())


def test_teacher_stays_out_of_sight() -> None:
    """In no optimiser, in no checkpoint, in eval mode, yet on the right device."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "dropout": 0.5}
    encoder = WhisperEncoder(WhisperConfig(**sizes)).train()
    parent = nn.ModuleDict({"student": nn.Linear(2, 2), "teacher": WhisperTeacher(encoder)})
    assert {n for n, _ in parent.named_parameters()} == {"student.weight", "student.bias"}
    assert set(parent.state_dict()) == {"student.weight", "student.bias"}
    net = parent["teacher"].net
    assert net is encoder
    parent.train().requires_grad_(True)
    assert not any(m.training for m in net.modules())
    assert not any(p.requires_grad for p in net.parameters())
    wav = torch.randn(1, 3200)
    assert torch.equal(parent["teacher"](wav)[0], parent["teacher"](wav)[0])  # no dropout
    assert copy.deepcopy(parent)["teacher"].net is not net
    parent.to(torch.float64)
    assert net.conv1.weight.dtype == torch.float64
    parent.to("meta")
    assert all(t.is_meta for t in (*net.parameters(), *parent["teacher"].buffers()))


def test_too_long(crop: WhisperTeacher) -> None:
    with pytest.raises(AudiokdError, match=r"30\.1 s is more than Whisper's 30 s window\n  use shorter crops"):
        crop(torch.zeros(1, LIMIT + 1600))


@pytest.mark.parametrize("name", ["no/such/folder", "/nowhere", "../nowhere"])
def test_unknown_path(name: str) -> None:
    with pytest.raises(AudiokdError, match=name):
        WhisperTeacher.from_pretrained(name)


def test_folder_of_something_else(whisper_ct2_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="audiokd convert whisper_ct2"):  # what a faster-whisper user would try first
        WhisperTeacher.from_pretrained(str(whisper_ct2_dir))
    with pytest.raises(AudiokdError, match=str(tmp_path)):
        WhisperTeacher.from_pretrained(str(tmp_path))


def test_unknown_window(crop: WhisperTeacher) -> None:
    with pytest.raises(AudiokdError, match="window 'half'"):
        WhisperTeacher(crop.net, "half")


@pytest.mark.parametrize("rate", [24_000, 22_050, 8_000])
def test_at_rate_is_torchaudios_resampling(crop: WhisperTeacher, rate: int, speech: Tensor) -> None:
    wav = torch.stack([speech[:9_001], speech[9_001:18_002]]).requires_grad_()
    n = torch.tensor([9_001, 4_000])
    with torch.inference_mode():
        crop.at_rate(wav, rate)  # whoever makes the kernel, gradients pass through it later
    with torch.autocast("cpu", torch.bfloat16):
        got, lengths = crop.at_rate(wav, rate, n)
    assert lengths.tolist() == [-(-k * 16_000 // rate) for k in (9_001, 4_000)]
    assert got.dtype == torch.float32
    alone, _ = crop.at_rate(wav[1:, :4_000], rate)
    assert torch.equal(alone, torchaudio.functional.resample(wav[1:, :4_000], rate, 16_000))
    torch.testing.assert_close(got[1:, : lengths[1]], alone, rtol=0, atol=1e-6)
    got.square().sum().backward()
    assert wav.grad[0].abs().min() > 0
    assert not wav.grad[1, 4_000:].any()


def test_at_its_own_rate_nothing_changes(crop: WhisperTeacher, speech: Tensor) -> None:
    got, lengths = crop.at_rate(speech[None], 16_000)
    assert got.data_ptr() == speech.data_ptr()
    assert lengths.tolist() == [len(speech)]
