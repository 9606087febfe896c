"""The worker of tokenize and extract: long recordings in bounded memory, dtypes, and one bad utterance among good ones."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from tiny_codecs import tiny_codec
from tokenized import assert_same_codes, codes_of
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from audiokd.data import inputs
from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.data.webdataset import read_tar
from audiokd.errors import AudiokdError
from audiokd.hub.auto import load_model
from audiokd.launch.launcher import Local
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.stages import corpus
from audiokd.stages.corpus_worker import ShardDone, Timed, Worker, plan_batches
from audiokd.stages.extract import extract
from audiokd.stages.shard import shard
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import open_store, verify_store

PEAK = """
import resource, sys
import soundfile as sf
from audiokd.stages.{stage} import {stage}
{stage}(sys.argv[1], sys.argv[2], sys.argv[3], threads=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> np.ndarray:
    """20 s at 16 kHz."""
    return load_at(Utterance("a", str(two_cities)), 16000)[: 20 * 16000]


@pytest.fixture(scope="module")
def hubert_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    out = tmp_path_factory.mktemp("hubert")
    HubertModel(HubertConfig(**shape, conv_dim=[8] * 7, num_conv_pos_embedding_groups=2)).save_pretrained(out)
    Wav2Vec2FeatureExtractor().save_pretrained(out)
    return str(out)


@pytest.fixture(scope="module")
def codec_dir(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of transformers."""
    out = tmp_path_factory.mktemp("encodec")
    tiny_codec("encodec", torch.from_numpy(load_at(Utterance("a", str(two_cities)), 24000))).save_pretrained(out)
    return str(out)


def test_long_recordings_have_the_codes_of_the_whole(
    model: Any, model_dir: str, speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that go in pieces and two that do not, in batches and alone."""
    (tmp_path / "wav").mkdir()
    for name, seconds in (("a", 3), ("b", 11.3), ("c", 2.5), ("d", 8)):
        sf.write(tmp_path / "wav" / f"{name}.flac", speech[: int(seconds * 16000)], 16000)
    tokenize(model_dir, str(tmp_path / "wav"), str(tmp_path / "whole"), threads=1)
    whole_only = codes_of(tmp_path / "whole")
    monkeypatch.setattr(LMSPTModel, "piece_s", 4.0)
    calls = []
    encode_long = LMSPTModel.encode_long
    monkeypatch.setattr(LMSPTModel, "encode_long", lambda self, u: calls.append(u.id) or encode_long(self, u))
    for budget in (0.0, 8.0):
        tokenize(model_dir, str(tmp_path / "wav"), str(tmp_path / f"s{budget}"), threads=1, batch_duration=budget)
        found = codes_of(tmp_path / f"s{budget}")
        assert list(found) == ["a", "b", "c", "d"]
        same = [float((found[i] == whole_only[i]).mean()) for i in found]
        assert min(same) > 0.99, same  # near ties aside
        assert verify_store(str(tmp_path / f"s{budget}")) == []
    assert sorted(calls) == ["b", "b", "d", "d"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tokenizer", "codec", "encoder"])
def test_memory_does_not_grow_with_a_recording(
    kind: str, model_dir: str, codec_dir: str, hubert_dir: str, speech: np.ndarray, tmp_path: Path
) -> None:
    """A minute and a half, and twenty times as much."""
    stage = "extract" if kind == "encoder" else "tokenize"
    name = {"tokenizer": model_dir, "codec": codec_dir, "encoder": hubert_dir}[kind]
    peaks = []
    for minutes in (1.5, 30):
        wav = tmp_path / f"{minutes}.wav"
        with sf.SoundFile(wav, "w", 16000, 1) as f:
            for _ in range(int(minutes * 3)):
                f.write(speech)
        args = [sys.executable, "-c", PEAK.format(stage=stage), name, str(wav), str(tmp_path / f"{minutes}")]
        done = subprocess.run(args, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]) / 1024)
        assert len(open_store(tmp_path / f"{minutes}")) == 1
    whole = 30 * 60 * 24000 * 4 / 2**20  # MB of its samples alone, 165
    assert peaks[1] - peaks[0] < whole / 3, peaks


def test_dtypes(hubert_dir: str, speech: np.ndarray, tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", speech, 16000)
    stores = {}
    for dtype in ("float32", "float16", "bfloat16"):
        extract(hubert_dir, str(tmp_path / "a.wav"), str(tmp_path / dtype), dtype=dtype, threads=1)
        stores[dtype] = open_store(tmp_path / dtype)
        assert stores[dtype].meta["dtype"] == dtype
        assert verify_store(tmp_path / dtype) == []
    full, half, brain = (stores[d]["a"].features for d in stores)
    assert (full.dtype, half.dtype, brain.dtype) == (np.float32, np.float16, np.float32)
    assert np.array_equal(half, full.astype(np.float16))
    assert np.array_equal(brain, torch.from_numpy(full.copy()).to(torch.bfloat16).float().numpy())
    assert not np.array_equal(brain, full)
    sizes = {d: (tmp_path / d / "00000" / "features.npy").stat().st_size for d in stores}
    assert sizes["float16"] == sizes["bfloat16"] < 0.51 * sizes["float32"]
    assert stores["bfloat16"].array("00000").dtype == np.float32
    with pytest.raises(AudiokdError, match="dtype differs: store float16, model bfloat16"):
        extract(hubert_dir, str(tmp_path / "a.wav"), str(tmp_path / "float16"), dtype="bfloat16", threads=1)


def test_windows_are_recorded_and_long_ones_go_through_them(
    hubert_dir: str, speech: np.ndarray, tmp_path: Path
) -> None:
    """Beyond 30 s: as many frames as a whole run has; the same in any batch."""
    (tmp_path / "wav").mkdir()
    sf.write(tmp_path / "wav" / "long.wav", np.tile(speech, 4)[: int(71.3 * 16000)], 16000)
    sf.write(tmp_path / "wav" / "short.wav", speech, 16000, subtype="FLOAT")
    stores = []
    for budget in (0.0, 100.0):
        extract(hubert_dir, str(tmp_path / "wav"), str(tmp_path / f"{budget}"), threads=1, batch_duration=budget)
        stores.append(open_store(tmp_path / f"{budget}"))
        assert (stores[-1].meta["window_s"], stores[-1].meta["hop_s"]) == (30.0, 25.0)
    one, other = (s["long"].features for s in stores)
    np.testing.assert_allclose(one, other, atol=1e-5)
    wav = torch.from_numpy(np.tile(speech, 4)[: int(71.3 * 16000)])[None]
    _, n = load_model(hubert_dir).extract(wav, None, "frames")
    assert len(one) == int(n)
    short = load_model(hubert_dir).extract(torch.from_numpy(speech)[None], None, "frames")[0][0].numpy()
    np.testing.assert_allclose(stores[1]["short"].features, short, atol=1e-5)
    assert stores[0]["long"].num_samples == wav.shape[-1]


def test_a_long_recording_that_goes_bad_leaves_the_rest(model_dir: str, speech: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    bad = np.tile(speech, 5)
    bad[16000 * 80 + 5] = np.nan
    sf.write(tmp_path / "wav" / "a.wav", speech[:32000], 16000)
    sf.write(tmp_path / "wav" / "b.wav", bad, 16000, subtype="FLOAT")
    sf.write(tmp_path / "wav" / "c.wav", speech[5:32000], 16000)
    tokenize(model_dir, str(tmp_path / "wav"), str(tmp_path / "s"), threads=1, max_error_rate=0.5)
    found = open_store(tmp_path / "s")
    assert list(found) == ["a", "c"]
    (row,) = found.errors()
    assert row["id"] == "b"
    assert "NaN or Inf in 1 samples, the first 80.000 s in" in row["error"]
    assert verify_store(tmp_path / "s") == []
    tokenize(model_dir, str(tmp_path / "wav" / "c.wav"), str(tmp_path / "c"), threads=1)
    assert_same_codes(codes_of(tmp_path / "c"), {"c": found["c"].codes})


@pytest.mark.parametrize("kind", ["shar", "webdataset"])
@pytest.mark.parametrize("nj", [1, 2])
def test_a_shard_that_is_cut_short_stops_no_other(
    kind: str, nj: int, speech: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is written, the run ends with what is missing and why, and goes on from there once it is mended."""
    dump = tmp_path / "dump"
    wavs = tmp_path / "wav"
    wavs.mkdir()
    for i in range(6):
        sf.write(wavs / f"u{i}.wav", speech[16000 * i : 16000 * (i + 1)], 16000)
    if kind == "shar":
        shard(str(wavs), str(dump), shard_size=2)
        tars = sorted(dump.glob("recording.*.tar"))
    else:
        dump.mkdir()
        tars = [dump / f"{i}.tar" for i in range(3)]
        for i, tar in enumerate(tars):
            subprocess.run(["tar", "cf", tar, "-C", wavs, f"u{2 * i}.wav", f"u{2 * i + 1}.wav"], check=True)
    whole = tars[1].read_bytes()
    tars[1].write_bytes(whole[: len(whole) // 3])
    store = str(tmp_path / "store")
    with pytest.raises(AudiokdError) as e:
        extract("log_mel", str(dump), store, layer="frames", nj=nj, threads=1)
    assert f"1 of 3 shards cannot be read and are missing\n  00001: {tars[1]}: not a whole tar" in str(e.value)
    assert re.search(r"not a whole tar: [^;\n]*; (make the shard|download it) again", str(e.value))
    assert "mend them and run the same command again" in str(e.value)
    found = open_store(store)
    assert (list(found), found.complete) == (["u0", "u1", "u4", "u5"], False)
    tars[1].write_bytes(whole)
    capsys.readouterr()
    extract("log_mel", str(dump), store, layer="frames", nj=nj, threads=1)
    assert "2 of 3 shards are done already" in capsys.readouterr().out
    assert list(open_store(store)) == [f"u{i}" for i in range(6)]
    assert verify_store(store) == []


@pytest.mark.parametrize("what", ["list", "shard"])
def test_a_shard_that_is_gone_is_missed(what: str, speech: np.ndarray, tmp_path: Path) -> None:
    """Not a corpus that is complete without it; the others keep their numbers."""
    dump, wavs, store = tmp_path / "dump", tmp_path / "wav", str(tmp_path / "store")
    wavs.mkdir()
    for i in range(6):
        sf.write(wavs / f"u{i}.wav", speech[16000 * i : 16000 * (i + 1)], 16000)
    shard(str(wavs), str(dump), shard_size=2)
    (dump / "cuts.000001.jsonl.gz").rename(tmp_path / "list")
    if what == "shard":
        (dump / "recording.000001.tar").rename(tmp_path / "tar")
    with pytest.raises(AudiokdError) as e:
        extract("log_mel", str(dump), store, layer="frames", threads=1)
    assert f"1 of 3 shards cannot be read and are missing\n  00001: {dump}/cuts.000001.jsonl.gz: " in str(e.value)
    assert open_store(store).shards == ["00000", "00002"]
    (tmp_path / "list").rename(dump / "cuts.000001.jsonl.gz")
    if what == "shard":
        (tmp_path / "tar").rename(dump / "recording.000001.tar")
    extract("log_mel", str(dump), store, layer="frames", threads=1)
    assert list(open_store(store)) == [f"u{i}" for i in range(6)]


def test_a_batch_that_the_model_refuses_is_tried_one_by_one(
    model_dir: str, speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wav").mkdir()
    for i in range(4):
        sf.write(tmp_path / "wav" / f"{i}.wav", speech[: 16000 + 160 * i], 16000)
    encode = LMSPTModel.encode

    def picky(self: Any, wav: torch.Tensor, lengths: torch.Tensor | None = None) -> Any:
        if int((lengths == (16000 + 320) * 3 // 2).sum()):
            raise AudiokdError("not this one")
        return encode(self, wav, lengths)

    monkeypatch.setattr(LMSPTModel, "encode", picky)
    tokenize(model_dir, str(tmp_path / "wav"), str(tmp_path / "s"), threads=1, batch_duration=30, max_error_rate=0.3)
    found = open_store(tmp_path / "s")
    assert list(found) == ["0", "1", "3"]
    assert [(r["id"], r["error"]) for r in found.errors()] == [("2", "not this one")]


@pytest.mark.parametrize("piece_s", [30.0, 0.5])
def test_what_fails_in_the_model_is_named(
    piece_s: float, model_dir: str, speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU without room for one utterance costs that one; anything else ends the run, and no shard of errors is written."""
    (tmp_path / "wav").mkdir()
    for i in range(3):
        sf.write(tmp_path / "wav" / f"{i}.wav", speech[: 16000 + 160 * i], 16000)
    error: list[Exception] = [torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")]
    encode, encode_long = LMSPTModel.encode, LMSPTModel.encode_long

    def failing(self: Any, wav: torch.Tensor, lengths: torch.Tensor | None = None) -> Any:
        if len(wav) > 1 or wav.shape[-1] == (16000 + 160) * 3 // 2:
            raise error[0]
        return encode(self, wav, lengths)

    def failing_long(self: Any, source: Utterance) -> Any:
        if source.id == "1":
            raise error[0]
        return encode_long(self, source)

    monkeypatch.setattr(LMSPTModel, "encode", failing)
    monkeypatch.setattr(LMSPTModel, "encode_long", failing_long)
    monkeypatch.setattr(LMSPTModel, "piece_s", piece_s)
    run = partial(tokenize, model_dir, str(tmp_path / "wav"), threads=1, batch_duration=30, max_error_rate=0.4)
    run(str(tmp_path / "s"))
    found = open_store(tmp_path / "s")
    assert list(found) == ["0", "2"]
    (row,) = found.errors()
    assert (row["id"], row["error"]) == ("1", "no memory for it: CUDA out of memory. Tried to allocate 9 GiB")
    error[0] = RuntimeError("an illegal memory access")
    with pytest.raises(
        RuntimeError, match=r"the model failed at (2, 1, 0|1) .*wav\): RuntimeError: an illegal memory access"
    ):
        run(str(tmp_path / "t"))
    assert not list((tmp_path / "t").glob("0*/shard.json"))


def test_plan() -> None:
    """By length, within the budget with padding; what goes in pieces stands alone."""
    seconds = [3.0, 1.0, 70.0, 2.0, 61.0, 2.5]
    timed = [Timed(Utterance(str(i), "x"), s) for i, s in enumerate(seconds)]
    plan = [[t.seconds for t in batch] for batch in plan_batches(timed, 200.0, 60.0)]
    assert plan == [[70.0], [61.0], [3.0, 2.5, 2.0, 1.0]]
    assert [[t.seconds for t in b] for b in plan_batches(timed[:2] + timed[3:4], 6.0, 60.0)] == [[3.0, 2.0], [1.0]]


def test_speed_and_waiting_are_said(
    model_dir: str, speech: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sf.write(tmp_path / "a.wav", speech, 16000)
    tokenize(model_dir, str(tmp_path / "a.wav"), str(tmp_path / "s"), threads=1)
    said = capsys.readouterr()
    assert "of the time waiting for data" in said.err
    assert "0.01 h of audio, " in said.err


@pytest.mark.parametrize(("device", "seconds"), [("cpu", 0.0), ("cuda", 120.0), ("cuda:1", 120.0)])
def test_the_plan_is_made_before_the_first_shard(
    device: str, seconds: float, speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kind of device, in the process that launches; a worker is handed it."""
    plans = []

    def run(self: Local, make: Any, args: tuple[Any, ...], tasks: Any, nj: int, threads: int, *more: Any) -> Any:
        plans.append((args[0].plan, args[1], threads))
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Local, "run", run)
    sf.write(tmp_path / "a.wav", speech, 16000)
    with pytest.raises(KeyboardInterrupt):
        extract("log_mel", str(tmp_path / "a.wav"), str(tmp_path / "s"), layer="frames", device=device, threads=3)
    ((plan, asked, threads),) = plans
    assert (plan["batch_duration"], plan["device"], plan["threads"]) == (seconds, device.split(":")[0], 3)
    assert (asked, threads) == (device, 3)


def test_shards_that_are_written_elsewhere(speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker says that it is done, and this machine sees nothing of it: a disk that is not shared."""
    monkeypatch.setattr(Worker, "__call__", lambda self, shard: ShardDone(1.0, 1.0, 0.0))
    sf.write(tmp_path / "a.wav", speech, 16000)
    with pytest.raises(AudiokdError, match="1 shards are written elsewhere and cannot be seen here, such as 00000"):
        extract("log_mel", str(tmp_path / "a.wav"), str(tmp_path / "s"), layer="frames", threads=1)
    assert not open_store(tmp_path / "s").complete


def test_the_next_utterances_are_read_while_the_model_runs(
    speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        sf.write(tmp_path / f"{i}.wav", speech[16000 * i : 16000 * (i + 1)], 16000)
    read, together = Worker._read, Worker._together
    second = threading.Event()

    def reading(self: Worker, batch: list[Timed]) -> Any:
        if batch[0].utt.id == "1":
            second.set()
        return read(self, batch)

    def running(self: Worker, wavs: Any) -> Any:
        assert second.wait(20)
        return together(self, wavs)

    monkeypatch.setattr(Worker, "_read", reading)
    monkeypatch.setattr(Worker, "_together", running)
    extract("log_mel", str(tmp_path), str(tmp_path / "s"), layer="frames", threads=1)
    assert list(open_store(tmp_path / "s")) == ["0", "1", "2"]


def test_a_worker_reads_the_list_of_a_tar_once(
    speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once it is read before, to count what there is to do; whether it is done is seen from its ends."""
    (tmp_path / "wav").mkdir()
    (tmp_path / "tars").mkdir()
    for i in range(3):
        sf.write(tmp_path / "wav" / f"{i}.wav", speech[16000 * i : 16000 * (i + 1)], 16000)
        subprocess.run(["tar", "cf", tmp_path / "tars" / f"{i}.tar", "-C", tmp_path / "wav", f"{i}.wav"], check=True)
    read: list[str] = []
    monkeypatch.setattr(inputs, "read_tar", lambda tar: read.append(tar.name) or read_tar(tar))
    extract("log_mel", str(tmp_path / "tars"), str(tmp_path / "s"), layer="frames", threads=1)
    assert sorted(read) == sorted(["0.tar", "1.tar", "2.tar"] * 2)
    assert verify_store(tmp_path / "s") == []
    extract("log_mel", str(tmp_path / "tars"), str(tmp_path / "s"), layer="frames", threads=1)
    assert len(read) == 6
    with open(tmp_path / "tars" / "1.tar", "r+b") as f:  # the samples of another take, as many of them
        f.seek(10_000)
        f.write(bytes(500))
    extract("log_mel", str(tmp_path / "tars"), str(tmp_path / "s"), layer="frames", threads=1)
    assert sorted(read[6:]) == ["1.tar"] * 2  # once more to see that its utterances are the store's
    assert verify_store(tmp_path / "s") == []


def test_time_left_where_nobody_has_counted(
    speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of many tars: by shards."""
    (tmp_path / "tars").mkdir()
    for i in range(3):
        sf.write(tmp_path / f"{i}.wav", speech[16000 * i : 16000 * (i + 1)], 16000)
        subprocess.run(["tar", "cf", tmp_path / "tars" / f"{i}.tar", "-C", tmp_path, f"{i}.wav"], check=True)
    monkeypatch.setattr(corpus, "_COUNTED", 2)
    extract("log_mel", str(tmp_path / "tars"), str(tmp_path / "s"), layer="frames", threads=1)
    assert "features 3 utterances" in (said := capsys.readouterr().err)
    assert "3 of 3 shards, 0:00 left" in said
