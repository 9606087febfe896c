"""`audiokd score` end to end on folders: what it writes, what it counts, and that a kill loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from noisy import with_noise
from safetensors.numpy import save_file

from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.rows import part_file, read_part
from audiokd.eval.si_sdr import si_sdr
from audiokd.eval.speech_lm import error_rates
from audiokd.stages.score import _summary, score
from audiokd.tokens.store import StoreItem, StoreWriter

FAST = ["mel", "stft", "si_sdr", "stoi"]


@pytest.fixture
def folders(tmp_path: Path, speech: np.ndarray) -> tuple[Path, Path]:
    """Three originals (one in a subfolder) and their rebuilt versions with noise at 20 dB, each 2 s."""
    ref, hyp = tmp_path / "ref", tmp_path / "hyp"
    for i, name in enumerate(("a", "b", "sub/c")):
        x = speech[i * 32_000 : (i + 1) * 32_000]
        for folder, wav in ((ref, x), (hyp, with_noise(x, 20))):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / f"{name}.wav", wav, 16_000, subtype="FLOAT")
    return ref, hyp


def test_scores_of_a_folder(folders, tmp_path):
    ref, hyp = folders
    out = tmp_path / "exp" / "score.json"
    result = score(str(ref), str(hyp), str(out), system="noise | 20 dB")
    written = json.loads(out.read_text())
    assert {**result, "utterances": written["utterances"]} == written
    assert [r["id"] for r in written["utterances"]] == ["a", "b", "sub/c"]
    assert (result["num_scored"], result["num_errors"], result["sample_rates"]) == (3, 0, [16_000])
    assert set(result["summary"]) == {"mel", "stft", "si_sdr", "stoi", "pesq", "mos"}
    sdr = result["summary"]["si_sdr"]
    assert sdr["mean"] == pytest.approx(20, abs=0.01)
    assert sdr["low"] <= sdr["mean"] <= sdr["high"]
    assert sdr["n"] == 3
    table = out.with_suffix(".md").read_text()
    assert table.startswith("| system | n | mel ↓ | STFT ↓ | SI-SDR ↑ | STOI ↑ | PESQ ↑ | MOS ↑ |\n")
    assert "| noise \\| 20 dB | 3 | " in table
    before = out.read_bytes()
    score(str(ref), str(hyp), str(out), system="noise | 20 dB")
    assert out.read_bytes() == before
    assert sorted(p.name for p in out.parent.iterdir()) == ["score.json", "score.md"]


def test_a_limit_scores_the_first_ones_only(folders, tmp_path):
    ref, hyp = folders
    result = score(str(ref), str(hyp), str(tmp_path / "score.json"), metrics=["mel"], limit=2)
    assert (result["num_utterances"], result["num_scored"], result["num_errors"]) == (2, 2, 0)
    assert [r["id"] for r in json.loads((tmp_path / "score.json").read_text())["utterances"]] == ["a", "b"]


def test_missing_and_broken_files_are_named_and_stop_nothing(folders, tmp_path):
    ref, hyp = folders
    (hyp / "a.wav").unlink()
    (hyp / "b.wav").write_bytes(b"RIFF, but no audio")
    result = score(str(ref), str(hyp), str(tmp_path / "s.json"), metrics=FAST)
    assert (result["num_utterances"], result["num_scored"], result["num_errors"], result["num_missing"]) == (3, 1, 2, 1)
    assert [e["id"] for e in result["errors"]] == ["a", "b"]
    assert "no such file" in result["errors"][0]["error"]
    assert result["summary"]["mel"]["n"] == 1
    assert "2 utterances could not be scored" in (tmp_path / "s.md").read_text()


def test_nothing_to_score_is_an_error(folders, tmp_path):
    ref, hyp = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AudiokdError, match=r"none of 3 utterances(.|\n)*empty/a\.wav"):
        score(str(ref), str(empty), str(tmp_path / "s.json"), metrics=FAST)
    assert not list(tmp_path.glob("*s.json*"))
    with pytest.raises(AudiokdError, match="no such folder"):
        score(str(ref), str(tmp_path / "nowhere"), str(tmp_path / "s.json"))
    with pytest.raises(ConfigError, match="go together"):
        score(str(ref), str(hyp), str(tmp_path / "s.json"), text=True)
    with pytest.raises(ConfigError, match="no metric is called"):
        score(str(ref), str(hyp), str(tmp_path / "s.json"), metrics=["mel", "sdr"])
    with pytest.raises(ConfigError, match="JSON file"):
        score(str(ref), str(hyp), str(tmp_path / "s.md"))


def test_error_rates_against_the_transcript(beckett, whisper_dir, tmp_path):
    (tmp_path / "hyp").mkdir()
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"beckett {beckett}\n")
    (data / "text").write_text("beckett Ever tried. Ever failed. No matter. Try again! Fail again. Fail wurst.\n")
    (tmp_path / "hyp" / "beckett.wav").write_bytes(beckett.read_bytes())
    out = tmp_path / "s.json"
    result = score(str(data), str(tmp_path / "hyp"), str(out), text=True, asr=str(whisper_dir), metrics=["mel"])
    assert result["summary"]["wer"]["mean"] == pytest.approx(1 / 12)
    assert result["summary"]["cer"]["mean"] > 0
    row = json.loads(out.read_text())["utterances"][0]
    assert (row["word_errors"], row["words"]) == (1, 12)
    assert "better" in row["asr"]
    assert "WER % (tiny.en) ↓" in out.with_suffix(".md").read_text()
    assert result["summary"]["wer_clipped"]["mean"] == result["summary"]["wer"]["mean"]


def test_an_asr_that_runs_on_counts_once_where_errors_are_clipped():
    rows = [
        {"word_errors": 90, "words": 10, "character_errors": 400, "characters": 50},
        {"word_errors": 1, "words": 10, "character_errors": 5, "characters": 50},
    ]
    summary = _summary(rows, [], "text")
    assert summary["wer"]["mean"] == pytest.approx(91 / 20)
    assert summary["wer_clipped"]["mean"] == pytest.approx(11 / 20)
    assert summary["cer_clipped"]["mean"] == pytest.approx(55 / 100)
    rates = error_rates(["a b", "c d"], ["a b", "x y z x y z x y z"])
    assert rates["wer"].mean == pytest.approx(9 / 4)
    assert rates["wer_clipped"].mean == pytest.approx(2 / 4)
    assert rates["wer_clipped_floor"].mean == 1


def test_error_rates_against_the_asr_say_so(folders, whisper_dir, tmp_path):
    ref, hyp = folders
    out = tmp_path / "s.json"
    result = score(str(ref), str(hyp), str(out), text=True, asr=str(whisper_dir), metrics=[])
    assert set(result["summary"]) == {"wer_vs_asr", "cer_vs_asr", "wer_clipped_vs_asr", "cer_clipped_vs_asr"}
    assert result["summary"]["wer_vs_asr"]["n"] == 3
    assert "WER % against the ASR (tiny.en) ↓" in out.with_suffix(".md").read_text()


def test_rates_are_brought_together_at_the_lower_one(folders, tmp_path, speech):
    ref, hyp = folders
    for path in hyp.rglob("*.wav"):
        x, _ = soundfile.read(path, dtype="float32")
        soundfile.write(path, np.repeat(x, 3), 48_000, subtype="FLOAT")
    result = score(str(ref), str(hyp), str(tmp_path / "s.json"), metrics=FAST)
    assert result["sample_rates"] == [16_000]
    assert result["num_length_mismatch"] == 0
    forced = score(str(ref), str(hyp), str(tmp_path / "t.json"), metrics=FAST, sample_rate=8000)
    assert forced["sample_rates"] == [8000]


def test_another_length_is_counted(folders, tmp_path):
    ref, hyp = folders
    x, rate = soundfile.read(hyp / "a.wav", dtype="float32")
    soundfile.write(hyp / "a.wav", x[:16_000], rate, subtype="FLOAT")
    result = score(str(ref), str(hyp), str(tmp_path / "s.json"), metrics=["si_sdr"])
    assert result["num_length_mismatch"] == 1


def test_store_gives_the_bit_rate(folders, tmp_path):
    ref, hyp = folders
    writer = StoreWriter(str(tmp_path / "store"), "codes", {"cardinality": [4, 16], "frame_rate": 50.0})
    codes = np.stack([np.tile([0, 1], 50), np.tile([3, 3], 50)])
    writer.write_shard("00000", [StoreItem("a", codes, num_samples=32_000, sample_rate=16_000)])
    writer.finish(["00000"])
    out = tmp_path / "s.json"
    result = score(str(ref), str(hyp), str(out), metrics=["mel"], store=str(tmp_path / "store"))
    assert (result["store"]["bits_per_second"], result["store"]["tokens_per_second"]) == (300, 100)
    assert result["store"]["entropy_bits_per_second"] == pytest.approx(50)
    assert [c["used"] for c in result["store"]["codebooks"]] == [2, 1]
    assert out.with_suffix(".md").read_text().splitlines()[2].endswith("| 50 | 300 | 100 |")
    alone = score(str(ref), str(hyp), str(out), metrics=["mel"], store=str(tmp_path / "store"), streams=[1])["store"]
    assert (alone["bits_per_second"], alone["tokens_per_second"], alone["entropy_bits_per_second"]) == (200, 50, 0)
    with pytest.raises(AudiokdError, match="streams 2 are not all there"):
        score(str(ref), str(hyp), str(out), metrics=["mel"], store=str(tmp_path / "store"), streams=[2])


def test_a_codec_made_elsewhere_states_what_it_costs(folders, tmp_path):
    """The same row as a system of ours: rates, parameters, utterances, intervals."""
    ref, hyp = folders
    out = tmp_path / "s.json"
    stated = {"frame_rate": 50.0, "cardinality": [4, 16]}
    result = score(str(ref), str(hyp), str(out), metrics=["mel"], parameters=14_000_000, **stated)
    assert result["store"] == {"frame_rate": 50.0, "bits_per_second": 300, "tokens_per_second": 100}
    assert out.with_suffix(".md").read_text().splitlines()[2].endswith("| 50 | 300 | 100 | 14.00 M |")
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)}, tmp_path / "model.safetensors")
    counted = score(str(ref), str(hyp), str(out), metrics=["mel"], model=str(tmp_path))
    assert counted["parameters"] == 17
    for wrong in (
        {"frame_rate": 50.0},
        {"cardinality": [4]},
        {**stated, "store": "x"},
        {"streams": [0]},
        {"model": str(tmp_path), "parameters": 5},
        {"model": str(hyp)},
    ):
        with pytest.raises(AudiokdError, match=r"--cardinality|--store|--model|no weights"):
            score(str(ref), str(hyp), str(out), metrics=["mel"], **wrong)


def test_more_processes_give_the_same(folders, tmp_path):
    ref, hyp = folders
    (hyp / "b.wav").unlink()
    one = score(str(ref), str(hyp), str(tmp_path / "1.json"), metrics=FAST)
    two = score(str(ref), str(hyp), str(tmp_path / "2.json"), metrics=FAST, nj=2)
    assert one["errors"] == two["errors"]
    for name in FAST:
        assert two["summary"][name]["mean"] == pytest.approx(one["summary"][name]["mean"], rel=1e-5)


def test_a_killed_run_goes_on_where_it_was(tmp_path, speech):
    ref, hyp = tmp_path / "ref", tmp_path / "hyp"
    ref.mkdir()
    hyp.mkdir()
    for i in range(64):
        x = speech[i * 1000 : i * 1000 + 24_000]
        soundfile.write(ref / f"{i:02d}.wav", x, 16_000, subtype="FLOAT")
        soundfile.write(hyp / f"{i:02d}.wav", with_noise(x, 10), 16_000, subtype="FLOAT")
    out = tmp_path / "s.json"
    metrics = ["mel", "stft", "si_sdr", "pesq"]
    code = f"from audiokd.stages.score import score; score({str(ref)!r}, {str(hyp)!r}, {str(out)!r}, metrics={metrics})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    part = part_file(out)
    while process.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") > 16):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    with open(part, "ab") as f:
        f.write(b'{"stamp": [1')  # what a kill in the middle of a line leaves
    settings = json.loads(part.read_bytes().splitlines()[0])["settings"]
    kept = read_part(part, settings)
    assert 16 <= len(kept) < 64
    assert read_part(part, {**settings, "metrics": ["mel"]}) == {}
    changed = sorted(kept)[0]  # a file decoded anew since then is scored anew
    x, _ = soundfile.read(ref / f"{changed}.wav", dtype="float32")
    soundfile.write(hyp / f"{changed}.wav", with_noise(x, 30), 16_000, subtype="FLOAT")
    result = score(str(ref), str(hyp), str(out), metrics=metrics)
    rows = {r["id"]: r for r in json.loads(out.read_text())["utterances"]}
    assert result["num_scored"] == 64
    assert rows[changed]["si_sdr"] == pytest.approx(30, abs=0.01)
    assert all(rows[i] == k["row"] for i, k in kept.items() if i != changed)
    y, _ = soundfile.read(hyp / "63.wav", dtype="float32")
    z, _ = soundfile.read(ref / "63.wav", dtype="float32")
    assert rows["63"]["si_sdr"] == si_sdr(z, y)
    assert not part.exists()


def test_an_id_never_leads_out_of_the_folder(folders, tmp_path):
    ref, hyp = folders
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"../hyp/a {ref}/a.wav\na {ref}/a.wav\n")
    result = score(str(data), str(hyp), str(tmp_path / "s.json"), metrics=["mel"])
    assert result["errors"] == [{"id": "../hyp/a", "error": "../hyp/a: the utterance id leads out of the folder"}]


def test_the_stage_imports_no_torch():
    code = "import sys, audiokd.stages.score; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
