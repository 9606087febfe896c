"""The store gives back what was written, refuses what does not fit, and says clearly what is wrong."""

from __future__ import annotations

import doctest
import json
import multiprocessing
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_stores import META, PLAN, tree, write_one_shard, write_store

import audiokd.tokens.store as store_module
from audiokd.data.ids import escape_id
from audiokd.errors import AudiokdError
from audiokd.tokens.exports import webdataset
from audiokd.tokens.store import StoreItem, StoreWriter, open_store, verify_store


def test_doctests() -> None:
    for module in (store_module, webdataset):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed


def test_real_codes_round_trip(store_path: Path, speech_items: list[StoreItem]) -> None:
    store = open_store(store_path)
    assert list(store) == [i.id for i in speech_items]
    assert len(store) == 10
    assert store.shards == ["00000", "00001", "00002"]
    for item, streamed in zip(speech_items, store.items()):
        for got in (store[item.id], streamed):
            assert got.codes.dtype == np.int64
            np.testing.assert_array_equal(got.codes, item.array)
            assert (got.id, got.num_samples, got.sample_rate) == (item.id, item.num_samples, item.sample_rate)
            assert (got.text, got.speaker) == (item.text, item.speaker)
    assert store.meta == META
    assert verify_store(store_path) == []
    plain = np.load(store_path / "00000" / "codes.npy")  # readable without audiokd
    np.testing.assert_array_equal(plain, np.concatenate([i.array.T for i in speech_items[:4]]))


def test_real_features_round_trip(feature_path: Path, feature_items: list[StoreItem]) -> None:
    store = open_store(feature_path)
    for item in feature_items:
        np.testing.assert_array_equal(store[item.id].features, item.array)
        assert store[item.id].features.dtype == np.float32
    assert verify_store(feature_path) == []


_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).map(escape_id)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_codes_round_trip(data: st.DataObject) -> None:
    cards = data.draw(st.lists(st.integers(1, 70000), min_size=1, max_size=4))
    ids = data.draw(st.lists(_IDS, unique=True, max_size=7))
    text = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
    items = []
    for i in ids:
        t = data.draw(st.integers(0, 5))
        codes = np.array([data.draw(st.lists(st.integers(0, k - 1), min_size=t, max_size=t)) for k in cards], np.int64)
        items.append(StoreItem(i, codes.reshape(len(cards), t), t * 3, 8000, data.draw(text), data.draw(text)))
    with tempfile.TemporaryDirectory() as tmp:
        path = write_store(Path(tmp) / "s", items, per_shard=3, meta={"cardinality": cards})
        store = open_store(path)
        assert list(store) == ids
        for item in items:
            got = store[item.id]
            np.testing.assert_array_equal(got.codes, item.array)
            assert got.codes.shape == item.array.shape
            assert (got.text, got.speaker) == (item.text, item.speaker)
        assert verify_store(path) == []


@pytest.mark.parametrize(
    ("largest", "dtype"), [(2, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4"), (1 << 32, "u4")]
)
def test_smallest_dtype(tmp_path: Path, largest: int, dtype: str) -> None:
    codes = np.array([[0, 1], [0, largest - 1]])
    path = write_store(tmp_path / "s", [StoreItem("u", codes, 2, 8000)], meta={"cardinality": [2, largest]})
    assert np.load(path / "00000" / "codes.npy").dtype == np.dtype(dtype)
    assert open_store(path)["u"].codes.tolist() == codes.tolist()


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([[0], [256]]), "code 256 in codebook 1, frame 0"),
        (np.array([[0, -1], [0, 0]]), "code -1 in codebook 0, frame 1"),
        (np.zeros((3, 4), int), r"shape \[3, 4\], \[2, T'\] expected"),
        (np.zeros(4, int), r"shape \[4\]"),
        (np.zeros((2, 4)), "float64, integers expected"),
    ],
)
def test_bad_codes_are_refused_and_nothing_is_written(tmp_path: Path, array: np.ndarray, says: str) -> None:
    writer = StoreWriter(tmp_path / "s", "codes", META)
    good = StoreItem("good", np.zeros((2, 3), int), 9, 16000)
    with pytest.raises(AudiokdError, match=says) as caught:
        writer.write_shard("00000", [good, StoreItem("bad-one", array, 9, 16000)], plan=PLAN)
    assert caught.value.where == "bad-one"
    assert list(tree(tmp_path / "s")) == ["store.json"]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (StoreItem("", np.zeros((2, 1), int), 9, 16000), "empty id"),
        (StoreItem("file\udce9", np.zeros((2, 1), int), 9, 16000), "not UTF-8"),
        (StoreItem("u", np.zeros((2, 1), int), 9, 16000, text="\udce9"), "not UTF-8"),
        (StoreItem("u", np.zeros((2, 1), int), -1, 16000), "num_samples -1"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, item: StoreItem, says: str) -> None:
    with pytest.raises(AudiokdError, match=says):
        StoreWriter(tmp_path / "s", "codes", META).write_shard("00000", [item])


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((3, 2), np.nan, np.float32), "NaN or infinity"),
        (np.zeros((3, 4), np.float32), r"\[T', 2\] expected"),
        (np.zeros((3, 2), int), "float32 or float16 expected"),
    ],
)
def test_bad_features_are_refused(tmp_path: Path, array: np.ndarray, says: str) -> None:
    writer = StoreWriter(tmp_path / "s", "features", {"feature_dim": 2})
    with pytest.raises(AudiokdError, match=says):
        writer.write_shard("00000", [StoreItem("u", array, 9, 16000)])


def test_ids_that_come_twice_are_refused(tmp_path: Path) -> None:
    item = StoreItem("u", np.zeros((2, 1), int), 9, 16000)
    writer = StoreWriter(tmp_path / "s", "codes", META)
    with pytest.raises(AudiokdError, match="comes twice"):
        writer.write_shard("00000", [item, item])
    with pytest.raises(AudiokdError, match="comes twice"):
        writer.write_shard("00000", [item], [{"id": "u", "where": "", "error": "x"}])


def test_another_model_is_refused_by_name(store_path: Path) -> None:
    other = META | {"model_sha256": "f" * 64, "frame_rate": 50.0}
    with pytest.raises(AudiokdError, match="another model") as caught:
        StoreWriter(store_path, "codes", other)
    assert f"model_sha256 differs: store {'a' * 64}, model {'f' * 64}" in caught.value.what
    assert "frame_rate differs: store 100.0, model 50.0" in caught.value.what
    with pytest.raises(AudiokdError, match="kind differs: store codes, model features"):
        StoreWriter(store_path, "features", META)


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({}, "cardinality is None"),
        ({"cardinality": [8], "num_codebooks": 2}, "num_codebooks is 2"),
        ({"cardinality": [(1 << 32) + 1]}, "does not fit 32 bits"),
        ({"cardinality": [8], "host": "node1"}, "holds no host"),
        ({"cardinality": [8], "model": {"config": "/home/me/config.json"}}, "holds no path"),
        ({"cardinality": [8], "x": float("nan")}, "cannot be written as JSON"),
    ],
)
def test_bad_meta_is_refused(tmp_path: Path, meta: dict, says: str) -> None:
    with pytest.raises(AudiokdError, match=says):
        StoreWriter(tmp_path / "s", "codes", meta)
    assert not (tmp_path / "s").exists()


def test_unknown_and_failed_ids(store_path: Path) -> None:
    store = open_store(store_path)
    assert "beckett/bad" not in store
    assert "nobody" not in store
    with pytest.raises(AudiokdError, match=r"failed when the store was written: bad\.wav: empty recording"):
        store["beckett/bad"]
    with pytest.raises(KeyError, match="no utterance 'nobody'"):
        store["nobody"]
    assert store.errors() == [{"id": "beckett/bad", "where": "bad.wav", "error": "bad.wav: empty recording"}]


def test_not_a_store(tmp_path: Path, store_path: Path) -> None:
    with pytest.raises(AudiokdError, match="no such store"):
        open_store(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(AudiokdError, match=r"not a token store: it has no store\.json"):
        open_store(tmp_path / "folder")
    head = json.loads((store_path / "store.json").read_text())
    for change, says in (
        ({"version": 2}, "store of version 2, this audiokd reads up to 1"),
        ({"version": "new"}, "not a number"),
        ({"format": "zarr"}, "not a token store"),
        ({"kind": "images"}, "kind must be"),
    ):
        (store_path / "store.json").write_text(json.dumps(head | change))
        with pytest.raises(AudiokdError, match=says):
            open_store(store_path)
    (store_path / "store.json").write_text("{")
    with pytest.raises(AudiokdError, match=r"store\.json: not readable as JSON"):
        open_store(store_path)
    with pytest.raises(AudiokdError, match="is not a shard name"):
        StoreWriter(tmp_path / "new", "codes", META).write_shard("../00000", [])


def test_a_shard_without_shard_json_is_not_there(store_path: Path) -> None:
    (store_path / "complete.json").unlink()
    (store_path / "00001" / "shard.json").unlink()
    store = open_store(store_path)
    assert (store.shards, store.unfinished, store.complete) == (["00000", "00002"], ["00001"], False)
    assert len(store) == len(list(store)) == 6
    assert not StoreWriter(store_path, "codes", META).done("00001")
    assert any("00001: unfinished" in p for p in verify_store(store_path))


def test_a_file_in_a_shards_place(store_path: Path) -> None:
    shutil.rmtree(store_path / "00001")
    (store_path / "00001").write_text("no shard")
    with pytest.raises(AudiokdError, match=r"00001: in the way: a file(.|\n)*move it away"):
        StoreWriter(store_path, "codes", META).done("00001")


def test_complete_store_that_lost_a_shard_does_not_open(store_path: Path) -> None:
    (store_path / "00001" / "shard.json").unlink()
    with pytest.raises(AudiokdError, match="lists shards that are not there: 00001"):
        open_store(store_path)


def test_changed_input_is_not_done(store_path: Path) -> None:
    writer = StoreWriter(store_path, "codes", META)
    assert writer.done("00001")
    assert writer.done("00001", f"{1:064x}")
    assert not writer.done("00001", "0" * 64)
    assert not writer.done("00007")


def test_finish_says_what_is_missing_or_too_much(store_path: Path) -> None:
    writer = StoreWriter(store_path, "codes", META)
    with pytest.raises(AudiokdError, match="not finished: 00003"):
        writer.finish(["00000", "00001", "00002", "00003"])
    with pytest.raises(AudiokdError, match="shards that this run has not: 00002"):
        writer.finish(["00000", "00001"])


def test_written_twice_same_bytes(tmp_path: Path, store_path: Path, speech_items: list[StoreItem]) -> None:
    failed = [{"id": "beckett/bad", "where": "/elsewhere/bad.wav", "error": "/elsewhere/bad.wav: empty recording"}]
    assert tree(write_store(tmp_path / "again", speech_items, errors=failed)) == tree(store_path)
    before = tree(store_path)
    write_store(store_path, speech_items, errors=failed)  # over the old one
    assert tree(store_path) == before


def test_a_shard_of_failures_only(tmp_path: Path) -> None:
    failed = [{"id": f"u{i}", "where": "f", "error": "broken"} for i in range(3)]
    path = write_store(tmp_path / "s", [], errors=failed)
    assert verify_store(path) == []
    store = open_store(path)
    assert (len(store), list(store), len(store.errors())) == (0, [], 3)
    assert store.array("00000").shape == (0, 2)


def test_store_can_be_pickled_for_workers(store_path: Path, speech_items: list[StoreItem]) -> None:
    store = open_store(store_path)
    store[speech_items[0].id]
    data = pickle.dumps(store)
    assert len(data) < 500  # the path, not the codes
    np.testing.assert_array_equal(pickle.loads(data)[speech_items[5].id].codes, speech_items[5].array)


def test_arrays_are_mapped_and_not_read(
    store_path: Path, speech_items: list[StoreItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(store_path)
    assert isinstance(store.array("00000"), np.memmap)
    opened, mapped = [], store._mapped
    monkeypatch.setattr(store, "_mapped", lambda shard: opened.append(mapped(shard)) or opened[-1])
    for item in store.items():
        assert not isinstance(item.array, np.memmap)  # one utterance's own
    assert store[speech_items[7].id].array.shape == speech_items[7].array.shape
    assert [isinstance(array, np.memmap) for array in opened] == [True] * 4


def test_more_shards_than_open_files(tmp_path: Path) -> None:
    items = [StoreItem(f"u{i}", np.full((2, 1), i), 160, 16000) for i in range(150)]
    store = open_store(write_store(tmp_path / "s", items, per_shard=1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (140, hard))
    try:
        assert [store[i].codes[0, 0] for i in store] == list(range(150))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_damaged_files_are_named(store_path: Path) -> None:
    (store_path / "00000" / "index.jsonl").write_bytes(b'{"id": "a", "offset": 0}\n{"id": \n')
    with pytest.raises(AudiokdError, match=r"00000/index\.jsonl: the index row is damaged"):
        next(open_store(store_path).items())
    with pytest.raises(AudiokdError, match=r"00000/index\.jsonl:2: not a JSON line"):
        list(open_store(store_path))
    row = {"id": "a", "offset": 300, "frames": 50, "num_samples": 1, "sample_rate": 1}
    (store_path / "00000" / "index.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(
        AudiokdError, match=r"00000/index\.jsonl: a stands where lookup\.npy says that beckett/ch\.0-é is"
    ):
        open_store(store_path)["beckett/ch.0-é"]
    (store_path / "lookup.npy").unlink()
    with pytest.raises(AudiokdError, match=r"frames 300\.\.350 of a lie outside the 311"):
        open_store(store_path)["a"]
    (store_path / "00000" / "index.jsonl").unlink()
    with pytest.raises(AudiokdError, match=r"00000/index\.jsonl: the file is missing"):
        list(open_store(store_path))
    (store_path / "00001" / "codes.npy").unlink()
    with pytest.raises(AudiokdError, match=r"00001/codes\.npy: the file is missing"):
        open_store(store_path).array("00001")
    assert not StoreWriter(store_path, "codes", META).done("00001")


def test_processes_write_shards_of_one_store_at_once(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    whole = write_store(tmp_path / "whole", speech_items, per_shard=1)
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(write_one_shard, tmp_path / "shared", i, item) for i, item in enumerate(speech_items)]
        names = [job.result() for job in jobs]
    StoreWriter(tmp_path / "shared", "codes", META).finish(names)
    assert tree(tmp_path / "shared") == tree(whole)


def test_import_needs_no_torch() -> None:
    code = "import audiokd.stages.store, audiokd.tokens.export, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code + "; assert 'pyarrow' not in sys.modules"], check=True)


def test_random_access_keeps_the_last_64_shards_open(tmp_path: Path) -> None:
    items = [StoreItem(f"u{i}", np.full((2, 1), i), 160, 16000) for i in range(70)]
    store = open_store(write_store(tmp_path / "s", items, per_shard=1))
    for i in [*range(70), *range(69, -1, -1)]:
        assert store[f"u{i}"].codes[1, 0] == i
        assert len(store._mmaps) <= 64
    assert len(store._mmaps) == 64


@pytest.mark.parametrize("utt_id", ["a b", "a\tb", "a\n", "\x07", "a\u3000b"])
def test_ids_that_end_a_line_are_refused(tmp_path: Path, utt_id: str) -> None:
    with pytest.raises(AudiokdError, match="whitespace or control characters"):
        write_store(tmp_path / "s", [StoreItem(utt_id, np.zeros((2, 1), int), 160, 16000)])
