"""Speaker leakage: known answers, and real voices through `audiokd score --speakers`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from noisy import with_noise
from sklearn.metrics import roc_curve

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.asr import same_model
from audiokd.eval.speaker_leakage import equal_error_rate, speaker_leakage
from audiokd.stages.score import score


def voices(spread: float, n: int = 40, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Four speakers' embeddings `[16]` of length 1 around their own axis."""
    rng = np.random.default_rng(seed)
    speakers = {f"u{i:02d}": f"s{i % 4}" for i in range(n)}
    x = {u: np.eye(16)[int(s[1])] + spread * rng.standard_normal(16) for u, s in speakers.items()}
    return {u: v / np.linalg.norm(v) for u, v in x.items()}, speakers


def test_equal_error_rate_is_where_the_curves_meet():
    rng = np.random.default_rng(0)
    own, other = rng.normal(1, 1, 300), rng.normal(0, 1, 900)
    taken, kept, _ = roc_curve(np.r_[np.ones(300), np.zeros(900)], np.r_[own, other])
    at = np.abs(taken - (1 - kept)).argmin()
    assert equal_error_rate(own, other) == pytest.approx((taken[at] + 1 - kept[at]) / 2, abs=0.005)
    assert equal_error_rate([1, 2, 3], [0, -1]) == 0
    assert equal_error_rate([0, -1], [1, 2, 3]) == 1
    assert equal_error_rate(own, own) == pytest.approx(0.5, abs=0.01)
    assert equal_error_rate([1, 1], [1, 1, 1]) == 0.5  # voices that are all one


def test_what_keeps_the_voice_and_what_loses_it():
    originals, speakers = voices(0.05)
    kept, _ = voices(0.05, seed=1)
    found = speaker_leakage(originals, kept, speakers)
    assert (found["speakers"], found["utterances"], found["chance"]) == (4, 40, 0.25)
    for name in ("rebuilt", "among_rebuilt", "original"):
        assert found[name]["accuracy"]["mean"] == 1
        assert found[name]["eer"]["mean"] == 0
        assert found[name]["own"]["mean"] > 0.9 > 0.3 > found[name]["other"]["mean"]
    rng = np.random.default_rng(3)
    lost = {u: np.ones(16) / 4 + 0.05 * rng.standard_normal(16) for u in originals}
    found = speaker_leakage(originals, lost, speakers)
    assert found["rebuilt"]["accuracy"]["low"] <= 0.25 <= found["rebuilt"]["accuracy"]["high"]
    assert found["rebuilt"]["eer"]["mean"] == pytest.approx(0.5, abs=0.12)
    assert found["original"]["accuracy"]["mean"] == 1


def test_an_utterance_is_no_witness_for_itself():
    """Embeddings that hold the utterance and no voice: near to themselves, and yet the speaker cannot be told."""
    rng = np.random.default_rng(2)
    x = {f"u{i:03d}": v / np.linalg.norm(v) for i, v in enumerate(rng.standard_normal((200, 64)))}
    found = speaker_leakage(x, x, {u: f"s{i % 4}" for i, u in enumerate(x)})
    assert found["rebuilt"]["accuracy"]["mean"] < 0.35
    assert found["rebuilt"] == found["among_rebuilt"] == found["original"]


def test_a_voice_changed_alike_for_all_is_found_among_the_rebuilt():
    """Each speaker sounds like the next one: no voice is kept, and all of them can be told apart."""
    originals, speakers = voices(0.05)
    turned = {u: np.concatenate([v[3:4], v[:3], v[4:]]) for u, v in originals.items()}
    found = speaker_leakage(originals, turned, speakers)
    assert found["rebuilt"]["accuracy"]["mean"] == 0
    assert found["among_rebuilt"]["accuracy"]["mean"] == 1
    assert found["among_rebuilt"]["eer"]["mean"] == 0


def test_one_voice_cannot_leak():
    originals, speakers = voices(0.05, n=5)  # s0 has two utterances, the others one
    with pytest.raises(AudiokdError, match="1 speakers with two utterances or more among 5"):
        speaker_leakage(originals, originals, speakers)


@pytest.fixture
def two_voices(two_cities: Path, beckett: Path, tmp_path: Path) -> Path:
    """Two readers, three clips of 2 s each, in data/ and with noise at 20 dB in hyp/."""
    for name in ("data", "wav", "hyp"):
        (tmp_path / name).mkdir()
    scp, speakers = [], []
    for reader, path in (("beckett", beckett), ("cities", two_cities)):
        for i in range(3):
            x = load_at(Utterance("x", str(path), start_s=1.0 + 2 * i, end_s=3.0 + 2 * i), 16_000)
            utt = f"{reader}-{i}"
            sf.write(tmp_path / "wav" / f"{utt}.wav", x, 16_000)
            sf.write(tmp_path / "hyp" / f"{utt}.wav", with_noise(x, 20), 16_000)
            scp.append(f"{utt} {tmp_path / 'wav' / utt}.wav\n")
            speakers.append(f"{utt} {reader}\n")
    (tmp_path / "data" / "wav.scp").write_text("".join(scp))
    (tmp_path / "data" / "utt2spk").write_text("".join(speakers))
    return tmp_path


def test_score_of_two_voices(two_voices: Path):
    ref, hyp, out = str(two_voices / "data"), str(two_voices / "hyp"), two_voices / "s.json"
    found = score(ref, hyp, str(out), metrics=["speaker_similarity"], speakers=True)
    assert json.loads(out.read_text())["speakers"] == found["speakers"]
    assert (found["speakers"]["speakers"], found["speakers"]["utterances"]) == (2, 6)
    assert found["speakers"]["original"]["accuracy"]["mean"] == 1
    rebuilt = found["speakers"]["rebuilt"]
    assert rebuilt["own"]["mean"] > rebuilt["other"]["mean"]
    assert 0.5 < found["summary"]["speaker_similarity"]["mean"] < 1
    table = out.with_suffix(".md").read_text()
    assert table.startswith("| system | n | speaker ↑ | own voice nearest % | voice EER % | EER among rebuilt % |\n")
    assert "Voices: 2 speakers; the originals: own voice nearest 100.0 %, EER 0.0 %" in table
    (two_voices / "data" / "utt2spk").unlink()
    with pytest.raises(AudiokdError, match=r"0 speakers(.|\n)*utt2spk"):
        score(ref, hyp, str(out), metrics=["mel"], speakers=True)


def test_a_score_by_the_teacher_is_headed_so(two_voices: Path, whisper_dir: Path):
    (two_voices / "data" / "utt2spk").unlink()
    (two_voices / "data" / "wav.scp").write_text(f"beckett-0 {two_voices / 'wav' / 'beckett-0.wav'}\n")
    ref, hyp, out, asr = str(two_voices / "data"), str(two_voices / "hyp"), two_voices / "s.json", str(whisper_dir)
    copy = two_voices / "copied"
    copy.mkdir()
    (copy / "model.safetensors").write_bytes((whisper_dir / "model.safetensors").read_bytes())
    found = score(ref, hyp, str(out), text=True, asr=asr, teacher=str(copy), metrics=[])
    assert found["settings"]["teacher_scored"]
    assert "(tiny.en, teacher-scored) ↓" in out.with_suffix(".md").read_text()
    assert same_model("openai/whisper-base", "openai/whisper-base")
    assert same_model(asr, f"{asr}/../{whisper_dir.name}")
    assert not same_model(asr, "openai/whisper-base")
    assert not same_model(asr, str(two_voices))
    with pytest.raises(ConfigError, match="--teacher says whether"):
        score(ref, hyp, str(out), teacher="openai/whisper-base", metrics=["mel"])
