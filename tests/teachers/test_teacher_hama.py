"""hama's phoneme recogniser: its own library's posteriors, padding that is not heard, and files that are not it."""

from __future__ import annotations

import json
import struct
from itertools import groupby, pairwise
from pathlib import Path

import jiwer
import pytest
import soundfile as sf
import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.teachers.auto import load_teacher
from audiokd.teachers.hama import BLANK, HamaTeacher

RECORDED = Path(__file__).parent / "hama_beckett.json"
SPOKEN = """
    ɛ v ɚ | t ɹ aɪ d | ɛ v ɚ | f eɪ l d | n oʊ | m æ t ɚ | t ɹ aɪ | ə g ɛ n |
    f eɪ l | ə g ɛ n | f eɪ l | b ɛ t ɚ
"""


@pytest.fixture(scope="module")
def speech(beckett: Path) -> Tensor:
    return torch.from_numpy(sf.read(beckett, dtype="float32")[0])


@pytest.fixture(scope="module")
def teacher(hama_file: Path) -> HamaTeacher:
    return load_teacher(str(hama_file))


@torch.no_grad()
def test_posteriors_are_its_own_librarys(teacher: HamaTeacher, speech: Tensor) -> None:
    want = json.loads(RECORDED.read_text())
    log_probs, frames = teacher.log_probs(speech[None])
    top, ids = log_probs[0].exp().max(-1)
    assert frames.tolist() == [len(ids)] == [len(want["ids"])]
    assert ids.tolist() == want["ids"]
    off = (top - torch.tensor(want["posteriors"])).abs()
    # the library's own rounding: float64 here, with the file's own STFT kernels, is as far from it
    assert off.mean() < 3e-5
    assert off.max() < 1e-3


@torch.no_grad()
def test_it_hears_the_words(teacher: HamaTeacher, speech: Tensor, hama_file: Path) -> None:
    tokens = [*json.loads((hama_file.parent / "g2p_vocab.json").read_text())["decoder"], "|", ""]
    log_probs, _ = teacher.log_probs(speech[None])
    heard = [tokens[i] for i, _ in groupby(log_probs[0].argmax(-1).tolist()) if i != len(tokens) + BLANK]
    assert jiwer.wer(" ".join(SPOKEN.split()), " ".join(heard)) < 0.35  # vowels of weak syllables are a matter of taste


@torch.no_grad()
def test_in_a_batch_as_alone(teacher: HamaTeacher, speech: Tensor) -> None:
    lengths = [16_000, 5_001, 9_919, 150, 1]
    batch = torch.stack([speech[s : s + 16_400] for s in (0, 20_000, 60_000, 80_000, 90_000)])
    got, frames = teacher(batch, torch.tensor(lengths))
    log_probs, _ = teacher.log_probs(batch, torch.tensor(lengths))
    assert frames.tolist() == [51, 16, 31, 1, 1]
    assert got.isfinite().all()
    for i, n in enumerate(lengths):
        alone, t = teacher(batch[i : i + 1, :n])
        assert t.tolist() == [alone.shape[1]] == [frames[i]]
        torch.testing.assert_close(got[i : i + 1, : t[0]], alone, rtol=0, atol=1e-4)
        p = teacher.log_probs(batch[i : i + 1, :n])[0]
        torch.testing.assert_close(log_probs[i : i + 1, : t[0]].exp(), p.exp(), rtol=0, atol=1e-4)
    assert (teacher(batch)[0][1, :16] - got[1, :16]).abs().max() > 0.01


@torch.no_grad()
def test_layers(teacher: HamaTeacher, speech: Tensor) -> None:
    states = [HamaTeacher(teacher.net, k)(speech[None, :8_000])[0] for k in range(5)]
    assert {s.shape for s in states} == {(1, 26, 144)}
    assert all((a - b).abs().max() > 0.01 for a, b in pairwise(states))
    assert torch.equal(teacher(speech[None, :8_000])[0], states[4])
    mean = HamaTeacher(teacher.net, "mean")(speech[None, :8_000])[0]
    torch.testing.assert_close(mean, torch.stack(states).mean(0))
    assert (teacher.dim, teacher.frame_rate, teacher.window) == (144, 50, "crop")
    with pytest.raises(AudiokdError, match="no layer 5: this teacher has 4 layers"):
        HamaTeacher(teacher.net, 5)


def test_gradient_reaches_the_waveform_only(teacher: HamaTeacher, speech: Tensor) -> None:
    wav = torch.stack([speech[20_000:28_000], speech[28_000:36_000]]).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        features, _ = teacher(wav, torch.tensor([8_000, 4_000]))
    assert features.dtype == torch.float32
    features[0].square().sum().backward(retain_graph=True)
    features[1, :13].square().sum().backward()
    assert wav.grad.isfinite().all()
    assert (wav.grad[0] != 0).all()
    assert not wav.grad[1, 4_000:].any()
    assert all(p.grad is None and not p.requires_grad for p in teacher.net.parameters())


def test_options_of_others(hama_file: Path) -> None:
    with pytest.raises(AudiokdError, match="window full is Whisper's, and this is a hama teacher"):
        load_teacher(str(hama_file), window="full")


def test_bad_files(hama_file: Path, tmp_path: Path) -> None:
    good, bad = hama_file.read_bytes(), tmp_path / "bad.hama"
    with pytest.raises(
        AudiokdError, match=r"bad\.hama: cannot be read \(No such file.*\n  it lies in the Python package"
    ):
        load_teacher(str(bad))
    broken = {
        "not a .hama file": b"RIFF" + good[4:],
        "version 2, kind 2: only version 1": good[:6] + b"\x02" + good[7:],
        "version 1, kind 3": good[:7] + b"\x03" + good[8:],
        "ends in the middle of its table": good[:100],
        "cut off: its table promises": good[:-50_000],
        r"mel_fb: 64320 bytes of data type 7": good[:20] + b"\x07" + good[21:],
        r"holds another network \('mel_filters'\)": good.replace(b"mel_fb", b"mel_fc", 1),
        r"holds another network \(": good[:6] + struct.pack("<BBI", 1, 2, 0),
    }
    for what, data in broken.items():
        bad.write_bytes(data)
        with pytest.raises(AudiokdError, match=what):
            load_teacher(str(bad))
