"""Stage 3: the same samples, the same bytes however it ran, and it goes on after kill -9."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiokd.data.audio import load, load_at, load_channels, load_crop
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.stages.shard import shard

REPO = Path(__file__).parents[2]


@pytest.fixture
def corpus(two_cities: Path, tmp_path: Path) -> Path:
    """Segments of one recording a format, and the whole of each beside them."""
    x, rate = sf.read(two_cities, dtype="float32", start=2 * 48000, frames=6 * 48000)
    wav, data = tmp_path / "wav", tmp_path / "data"
    wav.mkdir()
    data.mkdir()
    sf.write(wav / "a16.wav", x, rate)
    sf.write(wav / "b24.wav", x * np.float32(0.7654321), rate, subtype="PCM_24")
    sf.write(wav / "cfloat.wav", x / np.abs(x).max() * 2, rate, subtype="FLOAT")
    sf.write(wav / "d.ogg", x, rate)
    sf.write(wav / "e.mp3", x, rate)
    (data / "wav.scp").write_text("".join(f"{p.stem} {p}\n" for p in sorted(wav.iterdir())))
    segments = []
    for p in sorted(wav.iterdir()):
        segments += [f"{p.stem}-{i} {p.stem} {0.7 * i:.2f} {0.7 * i + 0.65:.2f}" for i in range(8)]
        segments += [f"{p.stem}-whole {p.stem} 0 -1"]
    (data / "segments").write_text("\n".join(segments) + "\n")
    (data / "text").write_text("".join(f"{s.split()[0]} WORDS {i}\n" for i, s in enumerate(segments)))
    return data


def digest(root: Path) -> dict[str, str]:
    files = [p for p in root.rglob("*") if p.is_file()]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_samples(corpus, tmp_path):
    summary = shard(str(corpus), str(tmp_path / "dump"), shard_size=7)
    before, after = open_input(corpus), open_input(tmp_path / "dump")
    assert after.kind == "shar"
    assert [u.id for u in after.utterances()] == [u.id for u in before.utterances()]
    for a, b in zip(before.utterances(), after.utterances()):
        assert np.array_equal(load(a)[0], load(b)[0]), a.id
        assert a.text == b.text
    assert summary["total"]["utterances"] == len(before) == len(after) == 45
    assert summary["total"]["duration_s"] == pytest.approx(5 * 8 * 0.65 + 5 * 6, abs=0.01)
    for row in summary["shards"]:
        for name, seal in row["files"].items():
            assert hashlib.sha256((tmp_path / "dump" / name).read_bytes()).hexdigest() == seal["sha256"]
    assert all(s.sha256 for s in after.shards)


def test_resampled(corpus, tmp_path):
    """What training hears is what it would have resampled itself, but for the 16 bits; what has the rate is not touched."""
    wav = corpus.parent / "wav"
    x, rate = sf.read(wav / "a16.wav", dtype="float32")
    sf.write(wav / "stereo.wav", np.stack([x, -x / 2], axis=1), rate)
    sf.write(wav / "there.wav", x[: 3 * 16_000], 16_000)
    with (
        open(corpus / "wav.scp", "a") as scp,
        open(corpus / "segments", "a") as segments,
        open(corpus / "text", "a") as text,
    ):
        for name in ("stereo", "there"):
            scp.write(f"{name} {wav / name}.wav\n")
            segments.write(f"{name}-whole {name} 0 -1\n")
            text.write(f"{name}-whole WORDS\n")
    root = tmp_path / "dump"
    summary = shard(str(corpus), str(root), shard_size=7, sample_rate=16_000)
    assert summary["sample_rate"] == 16_000
    before = {u.id: u for u in open_input(corpus).utterances()}
    after = {u.id: u for u in open_input(root).utterances()}
    assert list(before) == list(after)
    for name, utt in after.items():
        want, (got, got_rate) = load_at(before[name], 16_000), load(utt)
        assert got_rate == 16_000
        assert len(got) == len(want)
        assert np.abs(got - want.clip(-1, 1)).max() <= 2**-15  # half a step by rounding; full scale is a whole one off
        assert np.abs(got).max() > 0.01
    two, one = load_channels(after["stereo-whole"])[0], load(after["a16-whole"])[0]
    assert np.abs(two - np.stack([one, -one / 2], axis=1)).max() <= 2**-14
    assert np.array_equal(load(after["there-whole"])[0], load(before["there-whole"])[0])
    for start in (0.0, 1.2345):
        theirs, mine = (load_crop(u["b24-whole"], 16_000, start, 1.5) for u in (before, after))
        assert np.abs(theirs - mine).max() <= 2**-15
    assert shard(str(corpus), str(tmp_path / "two"), shard_size=7, sample_rate=16_000, nj=2) == summary
    assert digest(tmp_path / "two") == digest(root)
    shard(str(corpus), str(tmp_path / "exact"), shard_size=7)
    sizes = [sum(p.stat().st_size for p in f.glob("*.tar")) for f in (root, tmp_path / "exact")]
    assert sizes[0] < 0.4 * sizes[1]
    with pytest.raises(AudiokdError, match="sample_rate 16000 there, None now"):
        shard(str(corpus), str(root), shard_size=7)
    with pytest.raises(AudiokdError, match="sample_rate 16000 there, 8000 now"):
        shard(str(corpus), str(root), shard_size=7, sample_rate=8000)
    with pytest.raises(AudiokdError, match="sample_rate 0"):
        shard(str(corpus), str(tmp_path / "none"), sample_rate=0)


def test_same_bytes_whatever_nj(corpus, tmp_path):
    one = shard(str(corpus), str(tmp_path / "one"), shard_size=7)
    two = shard(str(corpus), str(tmp_path / "two"), shard_size=7, nj=2)
    assert one == two
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "one").rglob("*")}
    assert shard(str(corpus), str(tmp_path / "one"), shard_size=7) == one  # nothing to do
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "one").rglob("*")} == times
    text = "".join(p.read_text() for p in (tmp_path / "one" / "cuts.info").iterdir())
    assert str(tmp_path) not in text  # nothing of this machine


@pytest.mark.parametrize("nj", [1, 2])
def test_kill_and_go_on(corpus, tmp_path, nj):
    shard(str(corpus), str(tmp_path / "whole"), shard_size=2)
    killed = tmp_path / "killed"
    code = f"""if __name__ == "__main__":
    from audiokd.stages.shard import shard
    shard({str(corpus)!r}, {str(killed)!r}, shard_size=2, nj={nj})"""
    (tmp_path / "run.py").write_text(code)
    info, kills = killed / "cuts.info", 0
    for enough in (1, 6, 14):
        run = subprocess.Popen(
            [sys.executable, str(tmp_path / "run.py")],
            env={**os.environ, "PYTHONPATH": str(REPO)},
            stderr=subprocess.PIPE,
        )
        while run.poll() is None and len(list(info.glob("0*.json"))) < enough:
            time.sleep(0.002)
        if run.poll() is None:
            os.kill(run.pid, signal.SIGKILL)
            kills += 1
        run.communicate()
        if kills == 1:
            assert not (info / "shards.json").exists()
            with pytest.raises(AudiokdError, match="not finished"):
                open_input(killed)
    assert kills >= 1  # a loaded machine may look too late for the second and third
    done = {p: p.stat().st_mtime_ns for p in info.glob("0*.json")}
    (killed / ".recording.000020.tar.tmp99999").write_bytes(b"half")
    shard(str(corpus), str(killed), shard_size=2, nj=nj)
    assert {p: p.stat().st_mtime_ns for p in done} == done  # finished shards were not made again
    assert digest(killed) == digest(tmp_path / "whole")


def test_damaged_and_changed_shards_are_made_again(corpus, tmp_path):
    root = tmp_path / "dump"
    shard(str(corpus), str(root), shard_size=7)
    good = digest(root)
    tar = root / "recording.000002.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    shard(str(corpus), str(root), shard_size=7)
    assert digest(root) == good
    wav = corpus.parent / "wav" / "a16.wav"
    x, rate = sf.read(wav)
    sf.write(wav, np.concatenate([x, x]), rate)
    shard(str(corpus), str(root), shard_size=7)
    changed = {name for name, value in digest(root).items() if value != good[name]}
    assert "cuts.info/000000.json" in changed
    assert not any("000003" in name for name in changed)


def test_two_at_once(corpus, tmp_path):
    import fcntl

    root = tmp_path / "dump"
    root.mkdir()
    folder = os.open(root, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # as another process has it
    with pytest.raises(AudiokdError, match="another 'audiokd shard' is writing there"):
        shard(str(corpus), str(root))
    os.close(folder)
    assert shard(str(corpus), str(root))["total"]["utterances"] == 45


def test_another_input_is_refused(corpus, tmp_path):
    root = tmp_path / "dump"
    shard(str(corpus), str(root), shard_size=7)
    good = digest(root)
    with pytest.raises(AudiokdError, match="shard_size 7 there, 8 now"):
        shard(str(corpus), str(root), shard_size=8)
    (corpus / "quarantine.txt").write_text("a16-3 bad\n")
    with pytest.raises(AudiokdError, match="input_utterances 45 there, 44 now"):
        shard(str(corpus), str(root), shard_size=7)
    with pytest.raises(AudiokdError, match="not empty"):
        shard(str(corpus), str(corpus.parent / "wav"))
    assert digest(root) == good


@pytest.mark.parametrize("nj", [1, 2])
def test_bad_audio_is_left_out_and_counted(corpus, tmp_path, nj):
    (corpus.parent / "wav" / "b24.wav").write_bytes((corpus.parent / "wav" / "b24.wav").read_bytes()[:300_000])
    root = tmp_path / "dump"
    with pytest.raises(AudiokdError, match=r"of 45 utterances have bad audio.*\n.*segments:10: utterance b24-0: trunc"):
        shard(str(corpus), str(root), shard_size=7, nj=nj)
    assert not (root / "cuts.info" / "shards.json").exists()
    summary = shard(str(corpus), str(root), shard_size=7, max_error_rate=0.2, nj=nj)
    assert (summary["total"]["utterances"], summary["total"]["errors"]) == (36, 9)
    errors = [json.loads(row) for row in (root / "cuts.info" / "errors.jsonl").read_text().splitlines()]
    assert [e["id"] for e in errors] == [f"b24-{i}" for i in range(8)] + ["b24-whole"]
    assert errors[0]["where"] == f"{corpus}/segments:10: utterance b24-0"
    assert len(open_input(root)) == 36
    with pytest.raises(AudiokdError, match="9 of 45"):  # a finished folder is held to the rate, too
        shard(str(corpus), str(root), shard_size=7)
    assert len(open_input(root)) == 36  # and is left as it is


def test_stops_as_soon_as_too_much_is_bad(corpus, tmp_path):
    root = tmp_path / "dump"
    shard(str(corpus), str(root), shard_size=7)
    for wav in (corpus.parent / "wav").iterdir():
        wav.write_bytes(wav.read_bytes()[:-4000])
    with pytest.raises(AudiokdError, match="of 45 utterances have bad audio"):
        shard(str(corpus), str(root), shard_size=7, max_error_rate=0.2)
    states = [json.loads(p.read_text()) for p in sorted((root / "cuts.info").glob("0*.json"))]
    assert [len(s["errors"]) > 0 for s in states] == [True, True, False, False, False, False, False]
    with pytest.raises(AudiokdError, match="not finished"):  # what was finished is no longer
        open_input(root)


@pytest.mark.parametrize("kind", ["folder", "shar", "file"])
def test_other_inputs(corpus, tmp_path, kind):
    source = {"folder": corpus.parent / "wav", "shar": tmp_path / "first", "file": corpus.parent / "wav" / "d.ogg"}[
        kind
    ]
    if kind == "shar":
        shard(str(corpus), str(source), shard_size=20)
    shard(str(source), str(tmp_path / "dump"), shard_size=2)
    before, after = open_input(source, shard_size=2), open_input(tmp_path / "dump")
    assert [len(s) for s in after.shards] == [len(s) for s in before.shards]
    for a, b in zip(before.utterances(), after.utterances()):
        assert a.id == b.id
        assert np.array_equal(load(a)[0], load(b)[0])
