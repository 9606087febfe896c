"""Stage 7: one utterance, one row of codes, however the corpus lies and however it is gone through."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from tokenized import assert_same_codes, codes_of, tree

from audiokd.cli import main
from audiokd.data.audio import load_at
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.hub.auto import load_tokenizer
from audiokd.stages.decode import decode
from audiokd.stages.shard import shard
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import open_store, verify_store

NEAR_TIE = 1e-5


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
    out, said = capsys.readouterr()
    assert "6 of 8 utterances failed, more than --max_error_rate 0.01" in said
    assert "errors.jsonl" in said
    assert "failed: c-nan: NaN or Inf in 1 samples" in out

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

    main([*args, "--max_error_rate", "0.8"])  # the same store, now good enough: what is not in it is said all the same
    said = capsys.readouterr().out
    assert "2 utterances" in said
    assert said.count("failed: ") == 6


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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--device cuda:99", r"device 'cuda:99' cannot be used here: (.|\n)*audiokd doctor"),
        ("--device abacus", r"device 'abacus' cannot be used here: "),
        ("--threads -1", "--threads -1: give 1 or more"),
        ("--batch_duration -1", "--batch_duration -1: give seconds"),
        ("--nj 0", "--nj 0: at least one"),
    ],
)
def test_options_that_cannot_be(
    options: str, says: str, model_dir: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as e:
        main(["tokenize", model_dir, str(corpus / "wav"), str(tmp_path / "tokens"), *options.split()])
    assert e.value.code == 1
    assert re.search(says, capsys.readouterr().err)
    assert not list(tmp_path.rglob("shard.json"))


def test_a_finished_store_is_not_spoilt_by_another_shard_size(
    model_dir: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenize(model_dir, str(corpus / "wav"), str(tmp_path / "tokens"), shard_size=2, threads=1)
    before = tree(tmp_path / "tokens")
    with pytest.raises(AudiokdError, match=r"shards that this run has not: 00002\n.*another input or --shard_size"):
        tokenize(model_dir, str(corpus / "wav"), str(tmp_path / "tokens"), shard_size=3, threads=1)
    assert tree(tmp_path / "tokens") == before
    assert "made anew" not in capsys.readouterr().out
    (tmp_path / "wav").mkdir()
    for name in ("a16", "b24"):
        (tmp_path / "wav" / f"{name}.wav").write_bytes((corpus / "wav" / "a16.wav").read_bytes())
    tokenize(model_dir, str(tmp_path / "wav"), str(tmp_path / "few"), shard_size=1, threads=1)
    (tmp_path / "wav" / "b24.wav").write_bytes((corpus / "wav" / "a16.wav").read_bytes()[:-2])
    tokenize(model_dir, str(tmp_path / "wav"), str(tmp_path / "few"), shard_size=1, max_error_rate=1, threads=1)
    assert "1 of 2 shards are made anew" in capsys.readouterr().out


def test_a_store_of_another_input_is_left_alone(model_dir: str, corpus: Path, tmp_path: Path) -> None:
    """With as many shards; a corpus to which something was added is the same corpus."""
    tokenize(model_dir, str(corpus / "wav"), str(tmp_path / "tokens"), threads=1)
    before = tree(tmp_path / "tokens")
    (tmp_path / "wav").mkdir()
    sound = (corpus / "wav" / "a16.wav").read_bytes()
    (tmp_path / "wav" / "else.wav").write_bytes(sound)
    with pytest.raises(AudiokdError, match=r"another input: no utterance of its shard 00000 is in this one \(a16, "):
        tokenize(model_dir, str(tmp_path / "wav"), str(tmp_path / "tokens"), threads=1)
    assert tree(tmp_path / "tokens") == before
    (corpus / "wav" / "added.wav").write_bytes(sound)
    tokenize(model_dir, str(corpus / "wav"), str(tmp_path / "tokens"), threads=1)
    assert "added" in codes_of(tmp_path / "tokens")


def test_a_folder_of_something_else_is_no_store(model_dir: str, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("milk")
    with pytest.raises(AudiokdError, match=r"notes: in the way: it is there and has no store\.json"):
        tokenize(model_dir, str(corpus / "wav"), str(tmp_path / "notes"), threads=1)
    assert [p.name for p in (tmp_path / "notes").iterdir()] == ["todo.txt"]
