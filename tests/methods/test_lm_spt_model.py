"""LM-SPT as a tokenizer: sizes, exact lengths, codes that do not depend on batch or pieces, and its way to disk and back."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf
import torch
import torchaudio
from method_settings import settings_of
from torch import Tensor

import audiokd
from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.tokens.codes import Codes

TINY = {
    "encoder_dim": 4,
    "latent_dim": 32,
    "decoder_dim": 64,
    "aux_dim": 32,
    "semantic_codebook_size": 64,
    "acoustic_codebook_size": 32,
}
FRAME = 1920


def _tiny(**kwargs) -> LMSPTModel:
    torch.manual_seed(0)
    return LMSPTModel(LMSPTConfig(**{**TINY, **kwargs})).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> LMSPTModel:
    return _tiny()


@pytest.fixture(autouse=True)
def _all_codebooks(model: LMSPTModel):
    yield
    model.set_num_codebooks(8)
    model.piece_s = 60.0


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> Tensor:
    """Eight seconds at 24 kHz [T]."""
    x, rate = sf.read(two_cities, dtype="float32", frames=8 * 48000)
    return torchaudio.functional.resample(torch.from_numpy(x), rate, 24000)


@pytest.fixture(scope="module")
def folder(model: LMSPTModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm_spt") / "tiny"
    model.save_pretrained(path)
    return path


# configuration and sizes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder_rates": (8, 6, 5, 4)}, "encoder_rates give 1920 samples a frame, decoder_rates 960"),
        ({"encoder_rates": (4, 5, 6, 8)}, "encoder_rates give 960"),
        ({"aux_rates": (8, 8, 5)}, "aux_rates give 320 samples a frame; 16000 Hz needs 1280"),
        ({"aux_sample_rate": 24000}, "24000 Hz needs 1920"),
        ({"decoder_dim": 48}, "decoder_dim 48 cannot be halved 5 times"),
        ({"aux_dim": 24}, "aux_dim 24 cannot be halved 4 times"),
        ({"n_semantic_codebooks": 0}, "above 0 and below n_codebooks"),
        ({"n_semantic_codebooks": 8}, "above 0 and below n_codebooks"),
    ],
)
def test_config_that_does_not_agree(change: dict, message: str) -> None:
    with pytest.raises(AudiokdError, match=f"LM-SPT config: .*{message}"):
        LMSPTConfig(**{**TINY, **change})


def _packaged(name: str) -> LMSPTModel:
    with torch.device("meta"):
        return LMSPTModel(LMSPTConfig(**dataclasses.asdict(settings_of("lm_spt", "base", name).model)))


@pytest.mark.parametrize(("name", "rate"), [("base", 12.5), ("base_25hz", 25.0), ("base_6hz", 6.25), ("debug", 12.5)])
def test_packaged_configs(name: str, rate: float) -> None:
    m = _packaged(name)
    assert m.frame_rate == rate
    assert m.num_codebooks == 8
    assert m.semantic_encoder.frames(m.frame_size * 3) == m.acoustic_encoder.frames(m.frame_size * 3) == 3
    assert 0 <= m.frame_size * 3 - m.decoder.samples(3) <= 4  # odd strides lose a sample each, times the strides after
    assert 0 <= m.frame_size * 2 - m.aux_decoder.samples(3) <= 8
    if name.startswith("base"):
        assert m.cardinality == [16384] + [4096] * 7


def test_size_of_the_released_model() -> None:
    m = _packaged("base")
    parts = [m.semantic_encoder, m.acoustic_encoder, m.decoder, m.aux_decoder, m.quantizer]
    millions = [sum(p.numel() for p in x.parameters()) / 1e6 for x in parts]
    assert millions == pytest.approx([16.2, 16.2, 40.4, 1.2, 0.5], abs=0.06)
    assert sum(p.numel() for p in m.parameters()) / 1e6 == pytest.approx(74.65, abs=0.005)


# training forward


def test_forward(speech: Tensor) -> None:
    m = _tiny().train().requires_grad_(True)
    out = m(speech[None, : 2 * FRAME + 7])
    assert out.wav.shape == (1, 2 * FRAME + 7)
    assert out.semantic_wav.shape == (1, -(-(2 * FRAME + 7) * 2 // 3))
    assert out.quantized.codes.shape == (1, 8, 3)
    out.semantic_wav.square().mean().backward()
    reached = {n.split(".")[0] for n, p in m.named_parameters() if p.grad is not None}
    assert reached == {"semantic_encoder", "quantizer", "aux_decoder"}  # distillation never sees the acoustic side
    m.zero_grad()
    m(speech[None, : 2 * FRAME]).wav.square().mean().backward()
    reached = {n.split(".")[0] for n, p in m.named_parameters() if p.grad is not None}
    assert reached == {"semantic_encoder", "acoustic_encoder", "quantizer", "decoder"}


def test_forward_rebuilds_what_encode_and_decode_do(model: LMSPTModel, speech: Tensor) -> None:
    wav = speech[None, : 5 * FRAME + 11]
    out, codes = model(wav), model.encode(wav)
    assert torch.equal(out.quantized.codes, codes.codes)
    torch.testing.assert_close(model.decode(codes)[0], out.wav, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.decode(codes, semantic_only=True)[0], out.semantic_wav, rtol=0, atol=1e-5)


# encode


@pytest.mark.parametrize("pad", [True, False])
def test_codes_alone_equal_codes_in_a_batch(pad: bool, speech: Tensor) -> None:
    m = _tiny(pad_to_frame=pad)
    lengths = [40_000, 3 * FRAME, 3 * FRAME + 1, 1 if pad else FRAME, 47_999]
    batch = torch.stack([speech[s : s + 48_000] for s in (0, 9_000, 50_000, 70_000, 30_000)])
    batch[1, lengths[1] :] = 100 * torch.randn(48_000 - lengths[1])  # garbage in the padding
    got = m.encode(batch, torch.tensor(lengths))
    assert got.lengths.tolist() == [-(-n // FRAME) if pad else (n // 4 + 1) // 480 for n in lengths]
    assert got.num_samples.tolist() == lengths
    assert (got.codes.dtype, got.sample_rate) == (torch.int64, 24000)
    assert got.codes.unique().numel() > 10
    for i, n in enumerate(lengths):
        alone = m.encode(batch[i : i + 1, :n])
        assert torch.equal(alone.codes, got[i].codes)
        assert not got.codes[i, :, got.lengths[i] :].any()


@pytest.mark.parametrize("n", [1, 2, FRAME - 1, FRAME, FRAME + 1, 5 * FRAME, 5 * FRAME + 1])
def test_exact_lengths(n: int, model: LMSPTModel, speech: Tensor) -> None:
    codes = model.encode(speech[None, :n])
    assert codes.codes.shape == (1, 8, -(-n // FRAME))
    wav, lengths = model.decode(codes)
    assert (wav.shape, lengths.tolist()) == ((1, n), [n])
    semantic, lengths = model.decode(codes, semantic_only=True)
    assert (semantic.shape, lengths.tolist()) == ((1, -(-2 * n // 3)), [-(-2 * n // 3)])  # 16 kHz of 24
    wav, lengths = model.decode(codes.codes)  # without num_samples: whole frames
    assert (wav.shape[1], lengths.tolist()) == (FRAME * -(-n // FRAME), [FRAME * -(-n // FRAME)])
    semantic, _ = model.decode(codes.codes, semantic_only=True)
    assert semantic.shape[1] == 1280 * -(-n // FRAME)


def test_official_floor(speech: Tensor) -> None:
    m = _tiny(pad_to_frame=False)
    for n in (1916, 1919, 1920, 3835, 3836, 9000):
        assert m.encode(speech[None, :n]).lengths.tolist() == [(n // 4 + 1) // 480]
    with pytest.raises(AudiokdError, match="shorter than one frame"):
        m.encode(speech[None, :1915])


def test_set_num_codebooks_is_a_prefix(model: LMSPTModel, speech: Tensor) -> None:
    wav = speech[None, : 6 * FRAME]
    whole, margins, sound = model.encode(wav).codes, model.code_margins(wav), model.decode(model.encode(wav))[0]
    for n in (1, 2, 7):
        model.set_num_codebooks(n)
        assert torch.equal(model.encode(wav).codes, whole[:, :n])
        assert torch.equal(model.encode_long(wav).codes, whole[:, :n])
        assert torch.equal(model.code_margins(wav), margins[:, :n])
        assert torch.equal(model.decode(whole)[0], sound)  # what is given is decoded
        assert (model.num_codebooks, model.cardinality) == (n, [64] + [32] * (n - 1))
        assert model.decode(whole[:, :n])[0].shape == wav.shape
    for odd in (0, 9, 2.5):
        with pytest.raises(AudiokdError, match=f"{odd} codebooks asked of a model that has 8"):
            model.set_num_codebooks(odd)


def test_set_num_codebooks_is_not_saved(model: LMSPTModel, tmp_path: Path) -> None:
    model.set_num_codebooks(1)
    model.save_pretrained(tmp_path)
    assert audiokd.load_tokenizer(tmp_path).num_codebooks == 8


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("piece_s", [0.4, 3.0])
def test_encode_in_pieces_equals_the_whole(piece_s: float, pad: bool, speech: Tensor) -> None:
    m = _tiny(pad_to_frame=pad)
    batch, lengths = torch.stack([speech[:190_000], speech[:190_000].flip(0)]), torch.tensor([190_000, 100_001])
    whole = m.encode(batch, lengths)
    m.piece_s = piece_s
    pieces = m.encode(batch, lengths)
    assert torch.equal(pieces.codes, whole.codes)
    assert torch.equal(pieces.lengths, whole.lengths)
    assert torch.equal(pieces.num_samples, whole.num_samples)


@pytest.mark.parametrize("semantic_only", [False, True])
@pytest.mark.parametrize("piece_s", [0.4, 3.0])
def test_decode_in_pieces_equals_the_whole(
    piece_s: float, semantic_only: bool, model: LMSPTModel, speech: Tensor
) -> None:
    batch, lengths = torch.stack([speech[:190_000], speech[:190_000].flip(0)]), torch.tensor([190_000, 100_001])
    codes = model.encode(batch, lengths)
    whole, n = model.decode(codes, semantic_only)
    model.piece_s = piece_s
    pieces, m = model.decode(codes, semantic_only)
    assert torch.equal(n, m)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5)


def test_decode_alone_equals_in_a_batch(model: LMSPTModel, speech: Tensor) -> None:
    batch, lengths = torch.stack([speech[:48_000], speech[48_000:96_000]]), torch.tensor([20_001, 48_000])
    codes = model.encode(batch, lengths)
    codes.codes[0, :, codes.lengths[0] :] = -1  # frames past the end mean nothing, whatever a data loader pads with
    for semantic_only in (False, True):
        got, n = model.decode(codes, semantic_only)
        alone, n_alone = model.decode(codes[0], semantic_only)
        assert n[0] == n_alone[0] == alone.shape[1]
        torch.testing.assert_close(got[:1, : n[0]], alone, rtol=0, atol=1e-5)
        assert not got[0, n[0] :].any()
        assert got.shape[1] == n[1]


@pytest.mark.parametrize("semantic_only", [False, True])
@pytest.mark.parametrize("piece_s", [0.4, 60.0])
def test_no_frames_are_no_samples(piece_s: float, semantic_only: bool, model: LMSPTModel, speech: Tensor) -> None:
    model.piece_s = piece_s
    codes = model.encode(speech[None, : 9 * FRAME])
    empty = Codes(codes.codes[..., :0], torch.tensor([0]), torch.tensor([0]), 24000)
    sound, n = model.decode(Codes.collate([empty, codes]), semantic_only)
    assert n.tolist() == [0, 9 * (1280 if semantic_only else FRAME)]
    assert not sound[0].any()
    torch.testing.assert_close(sound[1:], model.decode(codes, semantic_only)[0], rtol=0, atol=1e-5)
    for alone in (empty, empty.codes):
        assert model.decode(alone, semantic_only)[0].shape == (1, 0)
        assert list(model.decode_long(alone, semantic_only)) == []
    lacking = Codes(codes.codes[..., :0], torch.tensor([0]), torch.tensor([100]), 24000)  # of a clip under a frame
    assert torch.cat(list(model.decode_long(lacking))).shape == model.decode(lacking)[0][0].shape


# features


@pytest.mark.parametrize("layer", LMSPTModel.feature_layers)
def test_extract(layer: str, model: LMSPTModel, speech: Tensor) -> None:
    lengths = [20_001, 3 * FRAME]
    batch = torch.stack([speech[:24_000], speech[24_000:48_000]])
    got, frames = model.extract(batch, torch.tensor(lengths), layer)
    assert (got.shape, frames.tolist()) == ((2, 11, 32), [11, 3])
    assert not got[1, 3:].any()
    for i, n in enumerate(lengths):
        alone, t = model.extract(batch[i : i + 1, :n], layer=layer)
        assert t.tolist() == [frames[i]]
        torch.testing.assert_close(got[i : i + 1, : t[0]], alone, rtol=0, atol=1e-5)
    model.set_num_codebooks(1)  # how many streams `encode` gives changes no latent
    few, _ = model.extract(batch, torch.tensor(lengths), layer)
    assert torch.equal(few, got)


@pytest.mark.parametrize("change", [{}, {"causal": True}, {"pad_to_frame": False}])
def test_extract_in_pieces_equals_the_whole(change: dict, speech: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    m = _tiny(**change)
    batch, lengths = torch.stack([speech[:190_000], speech[:190_000].flip(0)]), torch.tensor([190_000, 50_001])
    whole = [m.extract(batch, lengths, layer) for layer in m.feature_layers]
    margins, given, latents = m.code_margins(batch, lengths), [], m.latents
    monkeypatch.setattr(m, "latents", lambda wav, *rest: given.append(wav.numel()) or latents(wav, *rest))
    m.piece_s = 1.5
    for layer, (want, frames) in zip(m.feature_layers, whole):
        got, n = m.extract(batch, lengths, layer)
        assert torch.equal(n, frames)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
    torch.testing.assert_close(m.code_margins(batch, lengths), margins, rtol=0, atol=1e-5)
    assert max(given) < 2 * 27 * FRAME + 1.5 * 24000  # a piece and its margins, never the recording


def test_extract_agrees_with_codes(model: LMSPTModel, speech: Tensor) -> None:
    wav = speech[None, : 4 * FRAME]
    codes = model.encode(wav).codes
    quantized, semantic = (model.extract(wav, layer=x)[0].transpose(1, 2) for x in ("quantized", "semantic"))
    torch.testing.assert_close(quantized, model.quantizer.decode(codes), rtol=0, atol=1e-6)
    torch.testing.assert_close(semantic, model.quantizer.decode_semantic(codes), rtol=0, atol=1e-6)
    with pytest.raises(AudiokdError, match=r"no features 'mel'\n  layers: quantized, semantic"):
        model.extract(wav, layer="mel")
    margins = model.code_margins(wav)
    assert margins.shape == codes.shape
    assert margins.min() >= 0


# bad input


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2400,), None, r"must be \[B, T\], not \[2400\]"),
        ((1, 1, 2400), None, r"must be \[B, T\]"),
        ((1, 0), None, "an empty waveform has no codes"),
        ((0, 2400), None, "an empty waveform"),
        ((2, 2400), [2400, 0], r"lengths \[2400, 0\]: an empty waveform"),
        ((2, 2400), [2400, 2401], r"lengths \[2400, 2401\] do not fit waveforms of shape \[2, 2400\]"),
        ((2, 2400), [2400], r"lengths \[2400\] do not fit"),
    ],
)
def test_bad_waveforms(shape: tuple, lengths: list | None, message: str, model: LMSPTModel) -> None:
    with pytest.raises(AudiokdError, match=message):
        model.encode(torch.zeros(shape), None if lengths is None else torch.tensor(lengths))


def test_waveforms_are_floats(model: LMSPTModel, speech: Tensor) -> None:
    with pytest.raises(AudiokdError, match=r"torch.int16\n.*\[-1, 1\]"):
        model.encode((speech[None, :FRAME] * 32768).short())


@pytest.mark.parametrize("piece_s", [0.4, 60.0])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_waveforms_are_finite(bad: float, piece_s: float, model: LMSPTModel, speech: Tensor) -> None:
    model.piece_s = piece_s
    wav = speech[: 3 * 10 * FRAME].reshape(3, -1).clone()
    lengths = torch.tensor([9 * FRAME, 10 * FRAME, 10 * FRAME])
    wav[0, 9 * FRAME :] = bad  # padding may hold anything
    clean = model.encode(wav, lengths).codes
    wav[1, 777:900], wav[2, 10 * FRAME - 1] = bad, bad
    for of in (model.encode, model.extract, model.code_margins):
        with pytest.raises(AudiokdError, match=r"^item 1, sample 777; item 2, sample 19199: NaN or Inf"):
            of(wav, lengths)
    assert torch.equal(model.encode(wav[:1], lengths[:1]).codes[..., :9], clean[:1, :, :9])
    with pytest.raises(AudiokdError, match=r"^item 0, sample 777: NaN or Inf"):
        model.encode_long(wav[1].split(500))


@pytest.mark.parametrize(
    ("stream", "code", "message"),
    [
        (0, 64, "stream 0 holds code 64, the model has 64"),
        (3, 32, "stream 3 holds code 32"),
        (1, -1, "stream 1 holds code -1"),
    ],
)
def test_codes_out_of_range(stream: int, code: int, message: str, model: LMSPTModel) -> None:
    codes = torch.zeros(1, 8, 3, dtype=torch.long)
    codes[0, stream, 1] = code
    with pytest.raises(AudiokdError, match=message):
        model.decode(codes)


def test_odd_codes(model: LMSPTModel) -> None:
    with pytest.raises(AudiokdError, match="codes have 9 streams, the model 8"):
        model.decode(torch.zeros(1, 9, 3, dtype=torch.long))
    with pytest.raises(AudiokdError, match="unsqueeze"):
        model.decode(torch.zeros(8, 3, dtype=torch.long))
    with pytest.raises(AudiokdError, match=r"codes of torch.float32\n.*integers"):
        model.decode(torch.zeros(1, 8, 3))
    for shape in ((0, 8, 3), (1, 0, 3)):
        with pytest.raises(AudiokdError, match=r"codes of shape \[\d, \d, 3\]\n.*at least one item and stream"):
            model.decode(torch.zeros(shape, dtype=torch.long))
    with pytest.raises(AudiokdError, match=r"lengths \[4\].*3 frames"):
        model.decode(Codes(torch.zeros(1, 8, 3, dtype=torch.long), torch.tensor([4])))


# to disk and back


def test_save_and_load(folder: Path, model: LMSPTModel, speech: Tensor) -> None:
    tokenizer = audiokd.load_tokenizer(folder)
    assert isinstance(tokenizer, LMSPTModel)
    assert not tokenizer.training
    assert not any(p.requires_grad for p in tokenizer.parameters())
    assert all(m.folded is not None for m in tokenizer.modules() if hasattr(m, "folded"))
    wav = speech[None, : 20 * FRAME]
    codes = tokenizer.encode(wav)
    assert torch.equal(codes.codes, model.encode(wav).codes)
    torch.testing.assert_close(tokenizer.decode(codes)[0], model.decode(codes)[0], rtol=0, atol=1e-5)
    assert {k: v.shape for k, v in tokenizer.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
    saved = json.loads((folder / "config.json").read_text())
    assert saved["model_type"] == "lm_spt"
    assert {k: saved[k] for k in TINY} == TINY
    assert saved["encoder_rates"] == [4, 5, 6, 8, 2]


@pytest.mark.parametrize(
    "first",
    [
        "import transformers; import audiokd",
        "import audiokd; import transformers",
        "from transformers import AutoConfig, AutoModel; import audiokd, transformers",  # the Auto modules are loaded already
    ],
)
def test_auto_model_in_a_fresh_process(first: str, folder: Path) -> None:
    code = f"""{first}
config = transformers.AutoConfig.from_pretrained({str(folder)!r})
model = transformers.AutoModel.from_pretrained({str(folder)!r})
print(type(config).__name__, type(model).__name__, config.encoder_dim)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["LMSPTConfig", "LMSPTModel", "4"], done.stderr[-2000:]


def test_import_is_light() -> None:
    code = (
        "import sys, audiokd; print([m for m in ('torch', 'transformers', 'numpy', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_folders_that_hold_no_tokenizer(folder: Path, tmp_path: Path, whisper_dir: Path) -> None:
    with pytest.raises(AudiokdError, match=r"nowhere: no such folder"):
        audiokd.load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(AudiokdError, match=r"no config\.json"):
        audiokd.load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(AudiokdError, match="a model folder without weights"):
        audiokd.load_tokenizer(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(AudiokdError, match="cannot load the model"):
        audiokd.load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(AudiokdError, match=r"config\.json: not JSON"):
        audiokd.load_tokenizer(tmp_path)
    with pytest.raises(AudiokdError, match="a WhisperEncoder is not a tokenizer"):
        audiokd.load_tokenizer(whisper_dir)
