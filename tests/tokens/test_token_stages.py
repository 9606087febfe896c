"""`audiokd store ...` as a person meets it: what is printed, and what fails."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile
from pathlib import Path

import pytest
from token_stores import write_store

from audiokd.errors import AudiokdError
from audiokd.stages import store as stage
from audiokd.tokens.store import StoreItem, open_store


def test_ls_stats_verify(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.ls(str(store_path))
    out = capsys.readouterr().out
    assert "codes, 10 utterances of 0.00 h, complete" in out
    seconds = sum(u.num_samples / u.sample_rate for u in open_store(store_path).items("00000"))
    assert f"    00000        4     {seconds / 3600:.3f} " in out
    assert "frame_rate: 100.0" in out
    assert "failed: beckett/bad: bad.wav: empty recording" in out
    stage.stats(str(store_path))
    assert "perplexity" in capsys.readouterr().out
    stage.verify(str(store_path))
    assert "sound, 10 utterances" in capsys.readouterr().out


def test_verify_and_ls_of_a_broken_store(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store_path / "complete.json").unlink()
    (store_path / "00001" / "shard.json").unlink()
    with pytest.raises(AudiokdError, match="2 problems found"):
        stage.verify(str(store_path))
    assert "00001: unfinished" in capsys.readouterr().out
    stage.ls(str(store_path))
    out = capsys.readouterr().out
    assert "not complete" in out
    assert "00001 unfinished" in out


def test_ls_of_a_store_that_is_written(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store_path / ".00007.tmpabc").mkdir()
    stage.ls(str(store_path))
    assert "    00007 is being written, or its writer died" in capsys.readouterr().out


def test_verify_against_the_input(
    tmp_path: Path, beckett: Path, store_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    ids = list(open_store(store_path))
    (data / "wav.scp").write_text("".join(f"{i} {beckett}\n" for i in ids))
    stage.verify(str(store_path), str(data))
    assert f"sound, 10 utterances, all that {data} has" in capsys.readouterr().out
    (data / "wav.scp").write_text("".join(f"{i} {beckett}\n" for i in sorted([*ids[1:], "beckett/bad", "new"])))
    with pytest.raises(AudiokdError, match="3 problems found") as e:
        stage.verify(str(store_path), str(data))
    assert "run the command that made the store again" in str(e.value)
    out = capsys.readouterr().out
    assert "beckett/bad: failed: bad.wav: empty recording" in out
    assert f"new: is in the input and not in the store ({data}/wav.scp:11)" in out
    assert f"{ids[0]}: is in the store and not in the input" in out


def test_what_a_run_that_was_stopped_has_not_done(
    tmp_path: Path, beckett: Path, speech_items: list[StoreItem], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing is named of a store that is not complete too, and where a part of the input cannot be read."""
    items = [dataclasses.replace(item, id=f"u{i}") for i, item in enumerate(speech_items[:6])]
    store, tars = write_store(tmp_path / "store", items, per_shard=2), tmp_path / "tars"
    tars.mkdir()
    for n in range(3):
        with tarfile.open(tars / f"{n}.tar", "w") as tar:
            for i in (2 * n, 2 * n + 1):
                tar.add(beckett, f"u{i}.wav")
    (store / "complete.json").unlink()
    shutil.rmtree(store / "00001")
    (tars / "2.tar").write_bytes((tars / "2.tar").read_bytes()[:1000])
    with pytest.raises(AudiokdError, match="6 problems found"):
        stage.verify(str(store), str(tars))
    out = capsys.readouterr().out
    assert "complete.json: missing" in out
    for i in (2, 3):
        assert f"u{i}: is in the input and not in the store ({tars}/1.tar:u{i}.wav)" in out
    assert f"shard 00002 of the input cannot be read: {tars}/2.tar: not a whole tar" in out
    (store / "00000" / "index.jsonl").write_text("{")
    with pytest.raises(AudiokdError, match="problems found"):
        stage.verify(str(store), str(tars))
    assert "what is missing cannot be said: " in capsys.readouterr().out


def test_export_merge_diff(tmp_path: Path, speech_items: list[StoreItem], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_store(tmp_path / "a", speech_items[:6]), write_store(tmp_path / "b", speech_items[6:])
    whole = write_store(tmp_path / "whole", speech_items)
    stage.merge(str(a), str(b), str(tmp_path / "out"))
    assert "3 shards, 3 linked" in capsys.readouterr().out
    stage.diff(str(tmp_path / "out"), str(whole))
    assert "10 equal" in capsys.readouterr().out
    with pytest.raises(AudiokdError, match="the stores differ"):
        stage.diff(str(a), str(whole))
    assert "only in b: 4" in capsys.readouterr().out
    stage.export(str(whole), str(tmp_path / "x.jsonl"), "jsonl")
    assert (tmp_path / "x.jsonl").read_bytes().count(b"\n") == 10
