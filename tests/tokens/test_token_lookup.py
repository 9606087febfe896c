"""lookup.npy: an utterance of a large store is found without its indices being read, and never a wrong one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from token_stores import META, write_store

from audiokd.errors import AudiokdError
from audiokd.tokens import layout, lookup
from audiokd.tokens.store import StoreItem, StoreWriter, open_store, verify_store


def test_no_index_is_read(store_path: Path, speech_items: list[StoreItem], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(layout, "read_jsonl", refuse)
    store = open_store(store_path)
    for item in reversed(speech_items):
        np.testing.assert_array_equal(store[item.id].array, item.array)
        assert item.id in store
    assert "beckett/ch.1" not in store
    assert 7 not in store


def test_ids_of_one_hash(tmp_path: Path, speech_items: list[StoreItem], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_hash", lambda utt_id: len(utt_id) % 2)
    store = open_store(write_store(tmp_path / "s", speech_items))
    for item in speech_items:
        np.testing.assert_array_equal(store[item.id].array, item.array)
    assert verify_store(tmp_path / "s") == []


def test_a_store_that_is_still_written(store_path: Path, speech_items: list[StoreItem]) -> None:
    """And one of an older version, which has no table."""
    (store_path / "lookup.npy").unlink()
    assert open_store(store_path)[speech_items[7].id].id == speech_items[7].id
    assert verify_store(store_path) == []
    (store_path / "complete.json").unlink()
    assert open_store(store_path)[speech_items[7].id].id == speech_items[7].id


def test_a_table_of_another_store(tmp_path: Path, store_path: Path, speech_items: list[StoreItem]) -> None:
    other = write_store(tmp_path / "other", speech_items[::-1], per_shard=3)
    (store_path / "lookup.npy").write_bytes((other / "lookup.npy").read_bytes())
    assert any("lookup.npy" in p for p in verify_store(store_path))
    with pytest.raises(AudiokdError, match=r"lookup\.npy"):
        [open_store(store_path)[item.id] for item in speech_items]
    (store_path / "lookup.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(AudiokdError, match=r"lookup\.npy: not readable"):
        open_store(store_path)[speech_items[0].id]


def test_an_id_that_comes_twice(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    writer = StoreWriter(tmp_path / "s", "codes", META)
    for name in ("00000", "00001"):
        writer.write_shard(name, speech_items[:2])
    with pytest.raises(AudiokdError, match=r"two utterances have the id .*: in shard 00000 and in 00001"):
        writer.finish(["00000", "00001"])
    assert not open_store(tmp_path / "s").complete
    with pytest.raises(AudiokdError, match="is in shard 00000 and again in 00001"):
        open_store(tmp_path / "s")[speech_items[1].id]


def test_a_finished_store_is_not_finished_again(
    store_path: Path, speech_items: list[StoreItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = open_store(store_path).shards
    with monkeypatch.context() as m:
        m.setattr(layout, "read_jsonl", lambda path: 1 / 0)
        StoreWriter(store_path, "codes", META).finish(names)
    writer = StoreWriter(store_path, "codes", META)
    writer.write_shard(names[0], speech_items[:2])
    writer.finish(names)
    assert verify_store(store_path) == []
    assert speech_items[3].id not in open_store(store_path)


def test_nothing_at_all(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "s", "codes", META)
    writer.write_shard("00000", [], [{"id": "a", "where": "f", "error": "broken"}])
    writer.finish(["00000"])
    assert "a" not in open_store(tmp_path / "s")
    assert verify_store(tmp_path / "s") == []
