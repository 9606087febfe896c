"""Stage 7 and back: one utterance, one row of codes, however the corpus lies and however often the run is killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.torch import load_file

import audiokd
from audiokd.cli import main
from audiokd.data.audio import load_at
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.hub.auto import load_tokenizer
from audiokd.stages.decode import decode
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.stages.shard import shard
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import StoreItem, StoreWriter, open_store, verify_store

AUDIOKD = str(Path(sys.executable).with_name("audiokd"))
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
NEAR_TIE = 1e-5


def tree(folder: Path) -> dict[str, str]:
    """Every file below `folder`, hidden ones too, with its sha256."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def codes_of(store: Path | str) -> dict[str, np.ndarray]:
    return {item.id: np.asarray(item.array) for item in open_store(str(store)).items()}


def assert_same_codes(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert list(a) == list(b)
    assert all(np.array_equal(a[i], b[i]) for i in a), [i for i in a if not np.array_equal(a[i], b[i])]


@pytest.fixture(scope="module")
def exp(two_cities: Path, whisper_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of the debug model, exported before (untrained) and after (last)."""
    root = tmp_path_factory.mktemp("exp")
    for name, row in (("train", "a two_cities 0 4\nb two_cities 4 8\n"), ("dev", "c two_cities 8 10\n")):
        (root / name).mkdir()
        (root / name / "wav.scp").write_text(f"two_cities {two_cities}\n")
        (root / name / "segments").write_text(row)
    options = f"fit lm_spt --config lm_spt/debug --teacher.name {whisper_dir} --run.accelerator cpu --run.max_steps 2"
    io = ["--train", str(root / "train"), "--dev", str(root / "dev"), "--exp_dir", str(root / "exp")]
    main([*options.split(), *io])
    for name, checkpoint in (("untrained", "init"), ("last", "last"), ("best", "best")):
        main(["export", str(root / "exp"), str(root / name), "--checkpoint", checkpoint])
    return root


@pytest.fixture(scope="module")
def model_dir(exp: Path) -> str:
    return str(exp / "untrained")


@pytest.fixture(scope="module")
def model(model_dir: str) -> Any:
    return load_tokenizer(model_dir)


@pytest.fixture(scope="module")
def corpus(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data dir with segments of 16-bit, 24-bit, float (peak 2), ogg and mp3 recordings; a folder wav/ beside it."""
    root = tmp_path_factory.mktemp("corpus")
    x, rate = sf.read(two_cities, dtype="float32", start=2 * 48000, frames=5 * 48000)
    (root / "wav").mkdir()
    (root / "data").mkdir()
    sf.write(root / "wav" / "a16.wav", x, rate)
    sf.write(root / "wav" / "b24.wav", x * np.float32(0.7654321), rate, subtype="PCM_24")
    sf.write(root / "wav" / "cfloat.wav", x / np.abs(x).max() * 2, rate, subtype="FLOAT")
    sf.write(root / "wav" / "d.ogg", x, rate)
    sf.write(root / "wav" / "e.mp3", x, rate)
    files = sorted((root / "wav").iterdir())
    (root / "data" / "wav.scp").write_text("".join(f"{p.stem} {p}\n" for p in files))
    rows = [f"{p.stem}-{i} {p.stem} {a} {b}\n" for p in files for i, (a, b) in enumerate([(0, 1.3), (1.3, 2), (2, -1)])]
    (root / "data" / "segments").write_text("".join(rows))
    (root / "data" / "text").write_text("".join(f"{r.split()[0]} WORDS OF {r.split()[0]}\n" for r in rows))
    return root


@pytest.fixture(scope="module")
def store(model_dir: str, corpus: Path) -> Path:
    """Codes of the data dir, two utterances a shard, one by one."""
    tokenize(model_dir, str(corpus / "data"), str(corpus / "tokens"), shard_size=2, threads=1)
    return corpus / "tokens"


def test_init_is_the_model_before_training(exp: Path) -> None:
    from audiokd.stages.fit import build_module, read_settings

    generator = build_module(*read_settings(str(exp / "exp"))).generator.state_dict()
    first, last, best = (load_file(exp / n / "model.safetensors") for n in ("untrained", "last", "best"))
    assert first.keys() == last.keys() == generator.keys()
    assert all(torch.equal(first[k], generator[k]) for k in first)
    assert sum(not torch.equal(first[k], last[k]) for k in first) > 0.9 * len(first)
    assert all(torch.equal(best[k], last[k]) for k in last)  # one validation after training: it is the best
    kept = torch.load(exp / "exp" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(last[k], kept[f"generator.{k}"]) for k in last)


def test_codes_are_the_models(model: Any, corpus: Path, store: Path) -> None:
    found = codes_of(store)
    utterances = open_input(corpus / "data").utterances()
    assert list(found) == [u.id for u in utterances]
    assert len(found) == 15
    for utt in utterances:
        wav = torch.from_numpy(load_at(utt, 24000))[None]
        assert np.array_equal(found[utt.id], model.encode(wav).codes[0].numpy()), utt.id
        item = open_store(str(store))[utt.id]
        assert item.num_samples == wav.shape[-1]
        assert item.text == f"WORDS OF {utt.id}"
    assert verify_store(str(store)) == []
    assert len({c.tobytes() for c in found.values()}) > 9  # an untrained model hears no difference of loudness
    assert not np.array_equal(found["cfloat-0"][:1], found["a16-0"][:1])  # a peak of 2 is not cut to 1


def test_data_dir_and_shards_give_the_same_codes(model_dir: str, corpus: Path, store: Path, tmp_path: Path) -> None:
    shard(str(corpus / "data"), str(tmp_path / "dump"), shard_size=4)
    tokenize(model_dir, str(tmp_path / "dump"), str(tmp_path / "tokens"), threads=1)
    assert open_store(str(tmp_path / "tokens")).shards != open_store(str(store)).shards
    assert_same_codes(codes_of(tmp_path / "tokens"), codes_of(store))


def test_processes_and_shard_size_change_nothing(model_dir: str, corpus: Path, store: Path, tmp_path: Path) -> None:
    tokenize(model_dir, str(corpus / "data"), str(tmp_path / "two"), shard_size=2, nj=2, threads=1)
    assert tree(tmp_path / "two") == tree(store)  # the same plan: the same bytes
    tokenize(model_dir, str(corpus / "data"), str(tmp_path / "five"), shard_size=5, threads=1)
    assert len(open_store(str(tmp_path / "five")).shards) == 3
    assert_same_codes(codes_of(tmp_path / "five"), codes_of(store))


def test_batches_change_nothing_but_near_ties(
    model: Any, model_dir: str, corpus: Path, store: Path, tmp_path: Path
) -> None:
    tokenize(model_dir, str(corpus / "data"), str(tmp_path / "tokens"), shard_size=8, batch_duration=20, threads=1)
    plan = json.loads((tmp_path / "tokens" / "00000" / "shard.json").read_text())["plan"]
    assert plan["batch_duration"] == 20
    alone, batched = codes_of(store), codes_of(tmp_path / "tokens")
    assert list(alone) == list(batched)
    for utt in open_input(corpus / "data").utterances():
        a, b = alone[utt.id], batched[utt.id]
        assert a.shape == b.shape
        flips = np.argwhere(a != b)
        if len(flips):
            margins = model.code_margins(torch.from_numpy(load_at(utt, 24000))[None])[0]
            for frame in {int(t) for _, t in flips}:  # the first stream that differs decides; those below follow it
                first = min(int(q) for q, t in flips if t == frame)
                assert margins[first, frame] < NEAR_TIE, (utt.id, first, frame)


def test_an_export_that_fails_half_way_leaves_the_old_folder(
    exp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("half-way")

    monkeypatch.setattr("transformers.EncodecFeatureExtractor.save_pretrained", fail)  # when the weights are there
    before = tree(exp / "untrained")
    for folder in (tmp_path / "new", exp / "untrained"):
        with pytest.raises(RuntimeError, match="half-way"):
            export(str(exp / "exp"), str(folder), "last")
    assert not (tmp_path / "new").exists()
    assert tree(exp / "untrained") == before


def test_a_folder_twice_gives_the_same_bytes(model_dir: str, corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        tokenize(model_dir, str(corpus / "wav"), str(tmp_path / name), shard_size=2, threads=1)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert list(codes_of(tmp_path / "one")) == ["a16", "b24", "cfloat", "d", "e"]
    everything = b"".join(p.read_bytes() for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert str(corpus).encode() not in everything
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "one").rglob("0*/*")}
    tokenize(model_dir, str(corpus / "wav"), str(tmp_path / "one"), shard_size=2, threads=1)  # all done already
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_one_codebook_is_the_semantic_stream(model_dir: str, corpus: Path, store: Path, tmp_path: Path) -> None:
    tokenize(model_dir, str(corpus / "data"), str(tmp_path / "tokens"), num_codebooks=1, threads=1)
    assert_same_codes(codes_of(tmp_path / "tokens"), {i: c[:1] for i, c in codes_of(store).items()})
    with pytest.raises(AudiokdError, match="0 codebooks asked of a model that has 8"):
        tokenize(model_dir, str(corpus / "data"), str(tmp_path / "none"), num_codebooks=0)
    assert not (tmp_path / "none").exists()


def test_bad_files_stop_nothing(
    model_dir: str, corpus: Path, two_cities: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wav = tmp_path / "wav"
    wav.mkdir()
    (wav / "a-empty.wav").write_bytes(b"")
    (wav / "b-good.wav").write_bytes((corpus / "wav" / "a16.wav").read_bytes())
    x, rate = sf.read(two_cities, frames=48000, dtype="float32")
    x[7] = np.nan
    sf.write(wav / "c-nan.wav", x, rate, subtype="FLOAT")
    (wav / "d-cut.wav").write_bytes(two_cities.read_bytes()[:50_000])
    (wav / "e-words.mp3").write_text("this is no mp3\n" * 100)
    sf.write(wav / "f-nothing.flac", np.zeros(0, dtype=np.float32), 16000)
    (wav / "g-flac.wav").write_bytes(b"")
    sf.write(wav / "g-flac.wav", x[8:], rate, format="FLAC")  # its name says another format: it is read all the same
    sf.write(wav / "h-huge.wav", np.full(4800, 3.4e38, dtype=np.float32), rate, subtype="FLOAT")  # inf at 24 kHz
    args = ["tokenize", model_dir, str(wav), str(tmp_path / "tokens"), "--shard_size", "3", "--threads", "1"]
    with pytest.raises(SystemExit) as e:
        main(args)
    assert e.value.code == 1
    said = capsys.readouterr().err
    assert "6 of 8 utterances failed, more than --max_error_rate 0.01" in said
    assert "errors.jsonl" in said

    assert list(codes_of(tmp_path / "tokens")) == ["b-good", "g-flac"]
    assert np.array_equal(codes_of(tmp_path / "tokens")["b-good"], _codes_alone(model_dir, wav / "b-good.wav"))
    rows = {r["id"]: r["error"] for r in open_store(str(tmp_path / "tokens")).errors()}
    assert list(rows) == ["a-empty", "c-nan", "d-cut", "e-words", "f-nothing", "h-huge"]
    reasons = ("empty", "NaN or Inf in 1 samples", "truncated", "not readable as audio", "empty", "NaN or Inf in")
    for utt, what in zip(rows, reasons):
        assert what in rows[utt], rows[utt]
    assert verify_store(str(tmp_path / "tokens")) == []
    lines = [p.read_text() for p in sorted((tmp_path / "tokens").glob("*/errors.jsonl"))]
    assert sum(text.count("\n") for text in lines) == 6
    assert str(tmp_path) not in "".join(lines)

    main([*args, "--max_error_rate", "0.8"])  # the same store, now good enough
    assert "2 utterances" in capsys.readouterr().out


@pytest.mark.parametrize("batch_duration", [0.0, 20.0])
def test_bad_files_in_batches(model_dir: str, corpus: Path, tmp_path: Path, batch_duration: float) -> None:
    wav = tmp_path / "wav"
    wav.mkdir()
    (wav / "a.wav").write_bytes((corpus / "wav" / "a16.wav").read_bytes())
    (wav / "b.wav").write_bytes((corpus / "wav" / "a16.wav").read_bytes()[:9000])
    out = tmp_path / "tokens"
    tokenize(model_dir, str(wav), str(out), batch_duration=batch_duration, max_error_rate=0.5, threads=1)
    assert list(codes_of(out)) == ["a"]
    assert [r["id"] for r in open_store(str(out)).errors()] == ["b"]


def _codes_alone(model_dir: str, path: Path) -> np.ndarray:
    utt = open_input(path).utterances()[0]
    return load_tokenizer(model_dir).encode(torch.from_numpy(load_at(utt, 24000))[None]).codes[0].numpy()


def test_a_store_of_another_model_is_refused(exp: Path, model_dir: str, corpus: Path, store: Path) -> None:
    before = tree(store)
    mine, theirs = (open_store(str(store)).meta["model_sha256"], None)
    with pytest.raises(AudiokdError, match="made by another model") as e:
        tokenize(str(exp / "last"), str(corpus / "data"), str(store), shard_size=2, threads=1)
    assert mine[:12] in str(e.value)
    with pytest.raises(AudiokdError, match="the store was made by model") as d:
        decode(str(exp / "last"), str(store), str(corpus / "wrong"))
    assert all(word in str(d.value) for word in (mine[:12], str(store), str(exp / "last")))
    theirs = str(d.value).split("this one is ")[1][:12]
    assert theirs != mine[:12]
    assert theirs in str(e.value)
    assert not (corpus / "wrong").exists()
    assert tree(store) == before


def test_decode_gives_every_sample_back(model: Any, model_dir: str, store: Path, tmp_path: Path) -> None:
    assert decode(model_dir, str(store), str(tmp_path / "wav")) == 15
    assert decode(model_dir, str(store), str(tmp_path / "semantic"), semantic_only=True, limit=4) == 4
    tokens = open_store(str(store))
    for k, item in enumerate(tokens.items()):
        info = sf.info(tmp_path / "wav" / f"{item.id}.wav")
        assert (info.frames, info.samplerate, info.subtype) == (item.num_samples, 24000, "PCM_16")
        if k < 4:
            small = sf.info(tmp_path / "semantic" / f"{item.id}.wav")
            assert (small.frames, small.samplerate) == (-(-item.num_samples * 2 // 3), 16000)
    assert len(list((tmp_path / "semantic").iterdir())) == 4
    item = tokens["a16-1"]
    wav = model.decode(torch.from_numpy(item.array.astype(np.int64))[None])[0][0, : item.num_samples].numpy()
    back = sf.read(tmp_path / "wav" / "a16-1.wav", dtype="float32")[0]
    assert np.abs(np.clip(wav, -1, 1) - back).max() < 1e-4
    assert back.any()

    keep = tmp_path / "wav" / "b24-0.wav"
    keep.unlink()
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "wav").iterdir()}
    assert decode(model_dir, str(store), str(tmp_path / "wav")) == 1  # what stands is left
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert keep.exists()


def test_decode_of_an_utterance_without_frames(model_dir: str, store: Path, tmp_path: Path) -> None:
    tokens = open_store(str(store))
    writer = StoreWriter(tmp_path / "tokens", "codes", tokens.meta)
    none = StoreItem("a-none", np.zeros((8, 0), dtype=np.int64), 0, 24000)  # as a language model may give
    one = StoreItem("b-one", tokens["a16-1"].array, tokens["a16-1"].num_samples, 24000)
    writer.write_shard("00000", [none, one])
    assert decode(model_dir, str(tmp_path / "tokens"), str(tmp_path / "wav")) == 2
    frames = [sf.info(tmp_path / "wav" / f"{i}.wav").frames for i in ("a-none", "b-one")]
    assert frames == [0, one.num_samples]


@pytest.mark.parametrize("layer", ["", "semantic_latent"])
def test_extract_is_the_models_extract(model: Any, model_dir: str, corpus: Path, tmp_path: Path, layer: str) -> None:
    audiokd.extract_features(
        model_dir, str(corpus / "data"), str(tmp_path / "features"), layer=layer, shard_size=4, threads=1
    )
    found = open_store(str(tmp_path / "features"))
    assert found.kind == "features"
    assert found.meta["layer"] == (layer or "quantized")
    items = {item.id: item.array for item in found.items()}
    for utt in open_input(corpus / "data").utterances():
        wav = torch.from_numpy(load_at(utt, 24000))[None]
        features, frames = model.extract(wav, layer=layer or "quantized")
        assert items[utt.id].shape == (int(frames[0]), 64)
        assert items[utt.id].dtype == np.float32
        assert np.array_equal(items[utt.id], features[0].numpy())
    with pytest.raises(AudiokdError, match="cannot be decoded"):
        decode(model_dir, str(tmp_path / "features"), str(tmp_path / "wav"))
    with pytest.raises(AudiokdError, match="layers: quantized, semantic"):
        extract(model_dir, str(corpus / "data"), str(tmp_path / "other"), layer="seventh")


# --- killed, interrupted, out of space ---

DRIVER = """
import os, sys
import torch, torchaudio, transformers  # once: what is killed below is work, not imports
import audiokd.hub.auto, audiokd.methods.lm_spt.model
from audiokd.stages.tokenize import tokenize
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        tokenize(*sys.argv[1:4], shard_size=1, threads=1)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_killed_twenty_times(model_dir: str, two_cities: Path, tmp_path: Path) -> None:
    data, killed = tmp_path / "data", tmp_path / "killed"
    data.mkdir()
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    (data / "segments").write_text(
        "".join(f"t-{i:03d} two_cities {0.35 * i:.2f} {0.35 * i + 1:.2f}\n" for i in range(120))
    )
    tokenize(model_dir, str(data), str(tmp_path / "whole"), shard_size=1, threads=1)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, model_dir, str(data), str(killed)],
        env=ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    )

    def finished() -> int:
        return len(list(killed.glob("*/shard.json")))

    def start() -> int:
        driver.stdin.write("go\n")
        while not (line := driver.stdout.readline()).strip().isdigit():  # what tokenize says
            assert line
        return int(line)

    def ended() -> int:
        while (line := driver.stdout.readline()) and not line.strip().lstrip("-").isdigit():
            pass
        return int(line)

    rng, seen, half = random.Random(1), [], set()
    try:
        for _ in range(20):
            before, pid = finished(), start()
            deadline = time.monotonic() + 60
            while finished() == before:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.04))
            os.kill(pid, signal.SIGKILL)
            assert ended() == -signal.SIGKILL, "it was done before it could be killed"
            seen.append(finished())
            half |= {p.name for p in killed.glob("0*") if not (p / "shard.json").exists()}
            for item in open_store(str(killed)).items():  # what is there can be read
                assert item.array.shape == (8, 13)
        assert seen == sorted(seen)
        assert 20 <= seen[-1] < 120
        assert half  # some kills came in the middle of a shard's files
        assert not (killed / "complete.json").exists()
        start()
        assert ended() == 0
    finally:
        driver.stdin.close()
        driver.stdout.close()
        driver.wait(timeout=60)
    assert tree(killed) == tree(tmp_path / "whole")
    assert verify_store(str(killed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("nj", [1, 2])
def test_ctrl_c(model_dir: str, two_cities: Path, tmp_path: Path, nj: int) -> None:
    data, out = tmp_path / "data", tmp_path / "tokens"
    data.mkdir()
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    (data / "segments").write_text("".join(f"t-{i:03d} two_cities {i / 10} {i / 10 + 2:g}\n" for i in range(400)))
    args = [AUDIOKD, "tokenize", model_dir, str(data), str(out), "--shard_size", "1", "--nj", str(nj), "--threads", "1"]
    process = subprocess.Popen(
        args, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list(out.glob("*/shard.json"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to everyone
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "interrupted; what is written is whole" in said
    assert "Traceback" not in said
    assert not list(out.rglob(".*tmp*"))
    assert not (out / "complete.json").exists()
    done = open_store(str(out))
    assert 3 <= len(done.shards) < 400
    assert all(item.array.shape == (8, 25) for item in done.items())


@pytest.fixture
def growing(two_cities: Path, tmp_path: Path) -> Path:
    """A data dir of utterances of 1 s, then one of 40 s."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    rows = [f"t-{i} two_cities {i} {i + 1}\n" for i in range(3)] + ["u-long two_cities 0 40\n"]
    (data / "segments").write_text("".join(rows))
    return data


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


def test_a_file_that_may_not_grow(model_dir: str, growing: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    args = [AUDIOKD, "tokenize", model_dir, str(growing), str(out), "--shard_size", "1", "--threads", "1"]
    run = subprocess.run(args, env=ENV, capture_output=True, text=True, preexec_fn=limit_file_size)
    _says_so(run, "no space left while writing (File too large)", out)
    _three_are_whole_and_the_run_goes_on(model_dir, growing, out)


def test_a_full_disk(model_dir: str, growing: Path, tmp_path: Path) -> None:
    """A disk of 11 pages: store.json and three shards of three files leave one, the fourth's codes need two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    # in a mount namespace of its own, which ends with the command
    script = 'mount -t tmpfs -o size=44k tmpfs "$0" || exit 77; "$@"; code=$?; cp -r "$0/tokens" "$0.kept"; exit $code'
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    out = disk / "tokens"
    args = [AUDIOKD, "tokenize", model_dir, str(growing), str(out), "--shard_size", "1", "--threads", "1"]
    run = subprocess.run([*namespace, "sh", "-c", script, str(disk), *args], env=ENV, capture_output=True, text=True)
    if run.returncode == 77 or "unshare:" in run.stderr:  # a machine that lets nobody mount has no disk to fill
        test_a_file_that_may_not_grow(model_dir, growing, tmp_path)
        return
    _says_so(run, "no space left while writing (No space left on device)", out)
    _three_are_whole_and_the_run_goes_on(model_dir, growing, Path(f"{disk}.kept"))


def _says_so(run: subprocess.CompletedProcess[str], what: str, out: Path) -> None:
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert what in run.stderr
    assert f"{out}/00003/codes.npy" in run.stderr
    assert "run the same command again" in run.stderr


def _three_are_whole_and_the_run_goes_on(model_dir: str, data: Path, out: Path) -> None:
    assert not list(out.rglob(".*tmp*"))
    assert open_store(str(out)).shards == ["00000", "00001", "00002"]
    before = {k: v for k, v in tree(out).items() if not k.startswith("00003")}
    tokenize(model_dir, str(data), str(out), shard_size=1, threads=1)
    after = tree(out)
    assert {k: after[k] for k in before} == before
    assert verify_store(str(out)) == []
    assert codes_of(out)["u-long"].shape == (8, 500)
