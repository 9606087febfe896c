"""merge keeps every utterance once and every byte it can; diff finds the first place that differs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from token_stores import META, tree, write_store

from audiokd.errors import AudiokdError
from audiokd.files import sha256_file
from audiokd.tokens.compare import diff_stores, merge_stores, render_diff
from audiokd.tokens.store import StoreItem, StoreWriter, open_store, verify_store


def _same(store_path: Path, items: list[StoreItem]) -> None:
    assert verify_store(store_path) == []
    store = open_store(store_path)
    assert list(store) == [i.id for i in items]
    for item in items:
        got = store[item.id]
        np.testing.assert_array_equal(got.array, item.array)
        assert (got.num_samples, got.text, got.speaker) == (item.num_samples, item.text, item.speaker)


def test_merge_links_shards(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    """A listing: no byte is copied, the stores can be moved together, and nothing is written through a link."""
    a, b = write_store(tmp_path / "s" / "a", speech_items[:6]), write_store(tmp_path / "s" / "b", speech_items[6:])
    before = tree(a), tree(b)
    out = tmp_path / "s" / "out"
    assert merge_stores(a, b, out) == {"shards": 3, "linked": 3, "rewritten": 0, "duplicates": 0}
    assert all((out / s).is_symlink() for s in ("00000", "00001", "00002"))
    (tmp_path / "s").rename(tmp_path / "moved")
    a, b, out = (tmp_path / "moved" / n for n in ("a", "b", "out"))
    _same(out, speech_items)
    assert verify_store(out) == []
    assert [open_store(out)[i.id].id for i in speech_items] == [i.id for i in speech_items]
    with pytest.raises(AudiokdError, match="a link to another store's shard"):
        StoreWriter(out, "codes", open_store(out).meta).write_shard("00000", speech_items[:1])
    (out / "complete.json").unlink()  # as if it had been killed
    merge_stores(a, b, out, copy=True)
    assert not any((out / s).is_symlink() for s in ("00000", "00001", "00002"))
    assert (tree(a), tree(b)) == before
    merge_stores(a, b, tmp_path / "links")
    shutil.rmtree(b)
    with pytest.raises(AudiokdError, match=r"complete\.json lists shards that are not there: 00002"):
        open_store(tmp_path / "links")
    _same(out, speech_items)


def test_merge_of_disjoint_stores_copies_bytes(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    a = write_store(tmp_path / "a", speech_items[:6])
    b = write_store(tmp_path / "b", speech_items[6:], errors=[{"id": "x", "where": "f", "error": "broken"}])
    assert merge_stores(a, b, tmp_path / "out", copy=True) == {
        "shards": 3,
        "copied": 3,
        "rewritten": 0,
        "duplicates": 0,
    }
    _same(tmp_path / "out", speech_items)
    assert tree(tmp_path / "out" / "00000") == tree(a / "00000")
    assert tree(tmp_path / "out" / "00002") == tree(b / "00000")
    assert [e["id"] for e in open_store(tmp_path / "out").errors()] == ["x"]
    merge_stores(a, b, tmp_path / "again", copy=True)
    assert tree(tmp_path / "again") == tree(tmp_path / "out")


def test_merge_of_overlapping_stores_keeps_one(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    a = write_store(tmp_path / "a", speech_items[:6])
    b = write_store(tmp_path / "b", speech_items[2:])  # shards of 2-5, 6-9: the first has nothing new
    assert merge_stores(a, b, tmp_path / "out") == {"shards": 3, "linked": 3, "rewritten": 0, "duplicates": 4}
    _same(tmp_path / "out", speech_items)
    c = write_store(tmp_path / "c", speech_items[5:])
    assert merge_stores(a, c, tmp_path / "out2") == {"shards": 4, "linked": 3, "rewritten": 1, "duplicates": 1}
    _same(tmp_path / "out2", speech_items)


def test_merge_forgets_a_failure_that_was_mended(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    failed = [{"id": i, "where": "f", "error": "broken"} for i in (speech_items[9].id, "both", "only a")]
    a = write_store(tmp_path / "a", speech_items[:6], errors=failed)
    b = write_store(tmp_path / "b", speech_items[6:], errors=[{"id": "both", "where": "f", "error": "broken"}])
    merge_stores(a, b, tmp_path / "out")
    _same(tmp_path / "out", speech_items)
    assert [e["id"] for e in open_store(tmp_path / "out").errors()] == ["both", "only a"]


def test_merge_of_features(tmp_path: Path, feature_items: list[StoreItem]) -> None:
    meta = {"frame_rate": 100.0}
    a = write_store(tmp_path / "a", feature_items[:5], meta=meta, kind="features")
    b = write_store(tmp_path / "b", feature_items[3:], meta=meta, kind="features")
    assert merge_stores(a, b, tmp_path / "out")["duplicates"] == 2
    _same(tmp_path / "out", feature_items)


def test_merge_refuses(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    a = write_store(tmp_path / "a", speech_items[:6])
    other = write_store(tmp_path / "other", speech_items[6:], meta=META | {"model_sha256": "f" * 64})
    with pytest.raises(AudiokdError, match=r"model_sha256 differs: a a+, b f+"):
        merge_stores(a, other, tmp_path / "out")
    changed = dataclasses.replace(speech_items[5], array=speech_items[5].array[::-1])
    b = write_store(tmp_path / "b", [changed, *speech_items[6:]])
    with pytest.raises(AudiokdError, match="different codes") as caught:
        merge_stores(a, b, tmp_path / "out")
    assert caught.value.where == changed.id
    retold = write_store(tmp_path / "retold", [dataclasses.replace(speech_items[5], text="other")])
    with pytest.raises(AudiokdError, match="different text"):
        merge_stores(a, retold, tmp_path / "out")
    for taken in (a, b):
        with pytest.raises(AudiokdError, match="a store already"):
            merge_stores(a, write_store(tmp_path / "rest", speech_items[6:]), taken)
    (b / "complete.json").unlink()
    with pytest.raises(AudiokdError, match="not complete"):
        merge_stores(a, b, tmp_path / "out")


def test_merge_sees_damage_and_can_be_run_again(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    a, b = write_store(tmp_path / "a", speech_items[:6]), write_store(tmp_path / "b", speech_items[6:])
    shutil.copytree(b, tmp_path / "good")
    data = bytearray((b / "00000" / "codes.npy").read_bytes())
    data[-1] ^= 1
    (b / "00000" / "codes.npy").write_bytes(data)
    with pytest.raises(AudiokdError, match="the file is damaged"):
        merge_stores(a, b, tmp_path / "out", copy=True)
    merge_stores(a, tmp_path / "good", tmp_path / "out", copy=True)
    _same(tmp_path / "out", speech_items)
    merge_stores(a, tmp_path / "good", tmp_path / "fresh", copy=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_merge_copies_nothing_that_leads_out(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    a, b = write_store(tmp_path / "a", speech_items[:4]), write_store(tmp_path / "b", speech_items[4:])
    (tmp_path / "evil").write_text("evil")
    info = json.loads((a / "00000" / "shard.json").read_text())
    info["sha256"]["../../evil"] = sha256_file(tmp_path / "evil")
    (a / "00000" / "shard.json").write_text(json.dumps(info))
    (tmp_path / "deep").mkdir()
    with pytest.raises(AudiokdError, match=r"file '\.\./\.\./evil' is refused"):
        merge_stores(a, b, tmp_path / "deep" / "out", copy=True)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_diff_of_equal_stores(tmp_path: Path, store_path: Path, speech_items: list[StoreItem]) -> None:
    other = write_store(tmp_path / "b", speech_items[::-1], per_shard=3, meta=META | {"model_sha256": "f" * 64})
    found = diff_stores(store_path, other)  # order and shards do not matter
    assert found["same"]
    assert (found["common"], found["equal"], found["share_equal"]) == (10, 10, 1.0)
    assert found["meta"] == [f"model_sha256 differs: a {'a' * 64}, b {'f' * 64}"]
    assert "10 equal, 0 differ" in render_diff(found)


def test_diff_finds_the_places(tmp_path: Path, store_path: Path, speech_items: list[StoreItem]) -> None:
    items = [*speech_items[1:], StoreItem("new", np.zeros((2, 4), int), 640, 16000)]
    codes = items[0].array.copy()
    codes[1, 20:30] = (codes[1, 20:30] + 1) % 256
    items[0] = dataclasses.replace(items[0], array=codes)
    items[4] = dataclasses.replace(items[4], array=items[4].array[:, :-3])
    found = diff_stores(store_path, write_store(tmp_path / "b", items))
    assert not found["same"]
    assert (found["only_a"], found["only_b"]) == ([speech_items[0].id], ["new"])
    assert found["differing"] == [items[0].id, items[4].id]
    total = sum(i.array.shape[1] for i in speech_items[1:]) - 3
    assert found["share_equal_per_codebook"] == [1.0, pytest.approx(1 - 10 / total)]
    assert found["share_equal"] == pytest.approx(1 - 5 / total)
    first, second = found["first_differences"]
    was = int(speech_items[1].array[1, 20])
    assert first == {"id": items[0].id, "frame": 20, "codebook": 1, "a": was, "b": (was + 1) % 256}
    n = items[4].array.shape[1]
    assert second == {"id": items[4].id, "frame": n, "a": f"{n + 3} frames", "b": f"{n} frames"}
    text = render_diff(found)
    assert f"{items[0].id}: frame 20 codebook 1: a {was}, b {(was + 1) % 256}" in text
    assert "only in b: 1: new" in text


def test_diff_of_features(tmp_path: Path, feature_path: Path, feature_items: list[StoreItem]) -> None:
    moved = feature_items[2].array.copy()
    moved[-1, 0] += np.float32(0.25)
    items = [dataclasses.replace(i, array=moved) if i is feature_items[2] else i for i in feature_items]
    found = diff_stores(feature_path, write_store(tmp_path / "b", items, meta={}, kind="features"))
    assert found["differing"] == [feature_items[2].id]
    assert found["max_abs_diff"] == pytest.approx(0.25)
    assert found["first_differences"][0]["dim"] == 0
    assert "largest difference: 0.25" in render_diff(found)


def test_diff_refuses_what_cannot_be_compared(tmp_path: Path, store_path: Path, feature_path: Path) -> None:
    with pytest.raises(AudiokdError, match="codes and features cannot be compared"):
        diff_stores(store_path, feature_path)
    one = StoreItem(next(iter(open_store(store_path))), np.zeros((1, 4), int), 640, 16000)
    with pytest.raises(AudiokdError, match="2 values a frame in one store and 1 in the other"):
        diff_stores(store_path, write_store(tmp_path / "q1", [one], meta={"cardinality": [8]}))
