"""Codecs of transformers as tokenizers: the codes of transformers' own encode, in any batch, at any length."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from tiny_codecs import tiny_codec
from torch import Tensor

import audiokd
from audiokd.cli import main
from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.stages.decode import decode
from audiokd.teachers.codecs import CODECS, load_codec
from audiokd.teachers.codes import load_code_teacher
from audiokd.tokens.codes import Codes
from audiokd.tokens.store import open_store

#: family, what differs from the tests' usual shape, and the rate; 24 kHz DACs have an odd stride, 44.1 kHz ones all 9 codebooks
KINDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "encodec": ("encodec", {}, 24_000),
    "mimi": ("mimi", {}, 24_000),
    "dac_16khz": ("dac", {"downsampling_ratios": [2, 4, 5, 8]}, 16_000),
    "dac_24khz": ("dac", {"downsampling_ratios": [2, 4, 5, 8], "sampling_rate": 24_000}, 24_000),
    "dac_44khz": ("dac", {"downsampling_ratios": [2, 4, 8, 8], "sampling_rate": 44_100, "n_codebooks": 9}, 44_100),
    "xcodec_hubert": ("xcodec", {}, 16_000),
    "xcodec_wavlm": ("xcodec", {"semantic": "wavlm"}, 16_000),
}
FRAME_RATE = {"encodec": 75, "mimi": 12.5, "dac_16khz": 50, "dac_24khz": 75, "dac_44khz": 44_100 / 512}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def speech(kind: str, two_cities: Path) -> Tensor:
    return torch.from_numpy(load_at(Utterance("a", str(two_cities)), KINDS[kind][2]))


@pytest.fixture(scope="module")
def folder(kind: str, speech: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As transformers has it on disk."""
    family, changes, rate = KINDS[kind]
    root = tmp_path_factory.mktemp("codec") / kind
    tiny_codec(family, speech[: 20 * rate], **changes).save_pretrained(root)
    return root


@pytest.fixture
def codec(folder: Path) -> Any:
    return audiokd.load_tokenizer(folder)


@torch.no_grad()
def official(net: Any, wav: Tensor) -> Tensor:
    """Codes [B, Q, T'] that transformers' encode gives of `wav` [B, T], of all codebooks."""
    if net.config.model_type == "encodec":
        return net.encode(wav[:, None], bandwidth=net.config.target_bandwidths[-1]).audio_codes[0]
    return net.encode(wav[:, None]).audio_codes


@torch.no_grad()
def official_sound(net: Any, codes: Tensor) -> Tensor:
    if net.config.model_type == "encodec":
        return net.decode(codes[None], [None])[0][:, 0]
    found = net.decode(audio_codes=codes).audio_values
    return found[:, 0] if found.ndim == 3 else found


@pytest.fixture(scope="module")
def batch(folder: Path, speech: Tensor) -> tuple[Tensor, Tensor, Codes, Tensor]:
    """Clips of 12 s down to one sample, none of whole frames, with more speech past their ends; their lengths; their codes in one
    batch; and which frames [B, T'] are firm: no near ties, since noise 90 dB below the sound changes no code."""
    codec = audiokd.load_tokenizer(folder)
    rate = codec.sample_rate
    wav = torch.stack([speech[s * rate : (s + 12) * rate] for s in (0, 5, 9, 20, 27)])
    lengths = torch.tensor([12 * rate - 11, int(0.3 * rate) + 7, 5 * rate + 333, 1, int(2.4 * rate) - 1])
    codes = codec.encode(wav, lengths)
    firm, rng = torch.ones(codes.codes[:, 0].shape, dtype=torch.bool), torch.Generator().manual_seed(0)
    for _ in range(3):
        noise = 1 + 3e-5 * torch.randn(wav.shape, generator=rng)
        firm &= (codec.encode(wav * noise, lengths).codes == codes.codes).all(1)
    assert firm.float().mean() > 0.95
    return wav, lengths, codes, firm


def assert_same(codes: Tensor, others: Tensor, firm: Tensor) -> None:
    """Codes [Q, T'] of the firm frames [T'] are the same."""
    assert codes.shape == others.shape
    assert torch.equal(codes * firm, others * firm), (codes != others).any(0).nonzero()[:, 0].tolist()


def test_codes_and_sound_are_transformers_own(kind: str, codec: Any, speech: Tensor) -> None:
    rate, size = codec.sample_rate, codec.frame_size
    wav = speech[None, 2 * rate : 14 * rate]
    wav = wav[:, : wav.shape[1] // size * size]
    mine = codec.encode(wav)
    assert mine.codes.shape == (1, codec.num_codebooks, wav.shape[1] // size)
    assert codec.frame_rate == FRAME_RATE.get(kind, 50)
    used = [len(mine.codes[0, q].unique()) for q in range(codec.num_codebooks)]
    assert min(used) >= 100, used
    assert torch.equal(mine.codes, official(codec.net, wav))
    sound, n = codec.decode(mine)
    assert (sound.shape, n.tolist()) == (wav.shape, [wav.shape[1]])
    theirs = official_sound(codec.net, mine.codes)
    assert 0 <= n - theirs.shape[1] < size  # odd strides end early
    torch.testing.assert_close(sound[:, : theirs.shape[1]], theirs, atol=1e-5, rtol=1e-4)


def test_codes_of_a_clip_that_ends_in_mid_frame(kind: str, codec: Any, speech: Tensor) -> None:
    """transformers' extractor for DAC and X-Codec pads as we do; EnCodec and Mimi pad inside: their last frame may differ."""
    wav = speech[None, : 3 * codec.sample_rate + 77]
    mine = codec.encode(wav)
    assert mine.lengths.tolist() == [-(-wav.shape[1] // codec.frame_size)]
    if KINDS[kind][0] in ("dac", "xcodec"):
        from transformers import DacFeatureExtractor

        extractor = DacFeatureExtractor(sampling_rate=codec.sample_rate, hop_length=codec.frame_size)
        padded = extractor(wav[0].numpy(), sampling_rate=codec.sample_rate, return_tensors="pt")["input_values"]
        assert torch.equal(mine.codes, official(codec.net, padded[:, 0]))
    else:
        assert torch.equal(mine.codes[..., :-1], official(codec.net, wav)[..., :-1])


def test_a_clip_does_not_hear_its_batch(codec: Any, batch: tuple[Tensor, Tensor, Codes, Tensor]) -> None:
    wav, lengths, codes, firm = batch
    sound, n = codec.decode(codes)
    assert n.tolist() == lengths.tolist()
    assert codes.lengths.tolist() == (-(-lengths // codec.frame_size)).tolist()
    for i, size in enumerate(lengths.tolist()):
        frames = int(codes.lengths[i])
        assert_same(codec.encode(wav[i : i + 1, :size]).codes[0], codes[i].codes[0], firm[i, :frames])
        assert not codes.codes[i, :, frames:].any()
        assert not sound[i, size:].any()
        said, _ = codec.decode(codes[i])
        assert said.shape == (1, size)
        torch.testing.assert_close(sound[i, :size], said[0], atol=1e-5, rtol=1e-4)


def test_the_first_codebooks_alone(codec: Any, batch: tuple[Tensor, Tensor, Codes, Tensor]) -> None:
    wav, lengths, codes, _ = batch
    wav, lengths = wav[1:3, : int(lengths[2])], lengths[1:3]
    whole = codec.encode(wav, lengths).codes
    for n in (1, 2):
        codec.set_num_codebooks(n)
        assert (codec.num_codebooks, codec.cardinality) == (n, [256] * n)
        assert torch.equal(codec.encode(wav, lengths).codes, whole[:, :n])
        assert codec.decode(codes.semantic(n))[0].isfinite().all()


def test_long_recordings_in_pieces(codec: Any, batch: tuple[Tensor, Tensor, Codes, Tensor]) -> None:
    """Pieces of 2.1 s: the codes and the sound of the whole, or of windows which do not hear each other; in a batch and from blocks
    too."""
    wav, lengths, whole, firm = batch
    sound, _ = codec.decode(whole)
    codec.piece_s = 2.1
    pieces = codec.encode(wav, lengths)
    if codec.window_s is None:
        for i, frames in enumerate(whole.lengths.tolist()):
            assert_same(pieces[i].codes[0], whole[i].codes[0], firm[i, :frames])
    else:
        size = int(2.1 * codec.frame_rate) * codec.frame_size
        windows = [codec.encode(w).codes for w in wav[:1, : int(lengths[0])].split(size, 1)]
        assert len(windows) == 6
        assert torch.equal(pieces[0].codes, torch.cat(windows, -1))
        assert not torch.equal(pieces.codes, whole.codes)
    alone = codec.encode(wav[2:3, : int(lengths[2])])
    assert torch.equal(alone.codes, pieces[2].codes)
    for i, n in enumerate(lengths.tolist()):
        streamed = codec.encode_long(wav[i, :n].split(7001))
        assert (streamed.lengths.tolist(), streamed.num_samples.tolist()) == ([-(-n // codec.frame_size)], [n])
        assert torch.equal(streamed.codes, pieces[i].codes), i
    with pytest.raises(AudiokdError, match="an empty waveform has no codes"):
        codec.encode_long([])
    torch.testing.assert_close(codec.decode(whole)[0], sound, atol=1e-5, rtol=1e-4)
    none = Codes(whole.codes, whole.lengths * torch.tensor([1, 0, 1, 1, 1]), None, codec.sample_rate)
    assert not codec.decode(none)[0][1].any()


def test_a_corpus_through_the_commands(kind: str, folder: Path, two_cities: Path, tmp_path: Path) -> None:
    """Tokens one by one and in batches are the same; they decode; what is no part of the codec is refused."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    ends = {"a": (0, 12), "b": (12, 12.317), "c": (13, 14.71), "d": (15, 19.2), "e": (20, 20.5)}
    (data / "segments").write_text("".join(f"{k} two_cities {a} {b}\n" for k, (a, b) in ends.items()))
    for name, seconds in (("one", "0"), ("many", "30")):
        main(["tokenize", str(folder), str(data), str(tmp_path / name), "--batch_duration", seconds, "--threads", "1"])
    one, many = open_store(tmp_path / "one"), open_store(tmp_path / "many")
    assert len(one) == len(many) == 5
    for item in one.items():
        np.testing.assert_array_equal(item.array, many[item.id].codes)
        # of the resampled clip
        assert item.num_samples == pytest.approx((ends[item.id][1] - ends[item.id][0]) * item.sample_rate, abs=2)
    assert one.meta["model_type"] == KINDS[kind][0]
    assert one.meta.get("window_s") == (30.0 if KINDS[kind][0] == "xcodec" else None)
    main(["decode", str(folder), str(tmp_path / "one"), str(tmp_path / "wav")])
    assert sf.info(tmp_path / "wav" / "b.wav").samplerate == KINDS[kind][2]
    with pytest.raises(AudiokdError, match="no semantic stream"):
        decode(str(folder), str(tmp_path / "one"), str(tmp_path / "semantic"), semantic_only=True)
    teacher = load_code_teacher(str(folder))
    wav = torch.from_numpy(load_at(Utterance("b", str(two_cities), start_s=12, end_s=12.317), teacher.sample_rate))
    said = teacher.targets({"wav": wav[None]})["codes"][0, : one.meta["num_codebooks"]]
    np.testing.assert_array_equal(said, one["b"].codes)


def test_what_is_refused(codec: Any, folder: Path, speech: Tensor, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match=r"waveforms must be \[B, T\]"):
        codec.encode(torch.zeros(1, 2, 9600))
    with pytest.raises(AudiokdError, match="empty waveform"):
        codec.encode(torch.zeros(1, 0))
    with pytest.raises(AudiokdError, match="NaN or Inf"):
        codec.encode(torch.full((1, 640), float("nan")))
    with pytest.raises(AudiokdError, match="codebooks asked of a model that has"):
        codec.set_num_codebooks(33)
    codes = codec.encode(speech[None, :9600])
    with pytest.raises(AudiokdError, match="codes of sound at 8000 Hz, the model has"):
        codec.decode(Codes(codes.codes, codes.lengths, None, 8000))
    with pytest.raises(AudiokdError, match="holds code 256, the model has 256"):
        codec.decode(torch.full((1, 1, 3), 256))
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(AudiokdError, match="cannot load the"):
        audiokd.load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("family", "changes", "what"),
    [
        ("mimi", {"audio_channels": 2}, "a Mimi of stereo, or not causal"),
        ("mimi", {"use_causal_conv": False}, "a Mimi of stereo, or not causal"),
        ("encodec", {"normalize": True}, "an EnCodec of stereo, or not causal"),
        ("xcodec", {"sample_rate": 24_000}, "an X-Codec of 24000 Hz"),
    ],
)
def test_kinds_that_are_no_tokenizers_here(family: str, changes: dict[str, Any], what: str, tmp_path: Path) -> None:
    module, name = CODECS[family].split(":")
    made = importlib.import_module("transformers")
    config = getattr(made, f"{family.capitalize()}Config")()
    for key, value in changes.items():
        setattr(config, key, value)

    class Net(torch.nn.Module):
        """What it takes to be asked what it is."""

        encoder = decoder = quantizer = None

    net: Any = Net()
    net.config = config
    tokenizer = getattr(importlib.import_module(module), name)
    with pytest.raises(AudiokdError, match=what):
        tokenizer(net, config) if family == "encodec" else tokenizer(net)


def test_a_model_that_is_no_codec(whisper_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "xcodec2"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(AudiokdError, match="a xcodec2 model is none that audiokd knows") as e:
        audiokd.load_tokenizer(tmp_path)
    assert "codec of the families dac, encodec, mimi, xcodec" in str(e.value)
    with pytest.raises(AudiokdError, match="is not a tokenizer"):
        audiokd.load_tokenizer(whisper_dir)
    with pytest.raises(AudiokdError, match="cannot load the DAC"):
        load_codec(str(whisper_dir), "dac")
