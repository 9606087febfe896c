"""Each export, read back by the format's own reader, is the store; and it is the same bytes twice."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_stores import META, tree, write_store

from audiokd.data.ids import escape_id, unescape_id
from audiokd.errors import AudiokdError
from audiokd.stages import store as stage
from audiokd.tokens.export import FORMATS, export_store
from audiokd.tokens.exports.webdataset import escape_key
from audiokd.tokens.store import StoreItem, open_store


def test_jsonl(tmp_path: Path, store_path: Path, speech_items: list[StoreItem]) -> None:
    out = export_store(store_path, tmp_path / "codes.jsonl", "jsonl")
    rows = [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]]
    assert [r["id"] for r in rows] == [i.id for i in speech_items]
    for row, item in zip(rows, speech_items):
        assert row["codes"] == item.array.tolist()
        assert (row["num_samples"], row["sample_rate"]) == (item.num_samples, 16000)
        assert (row.get("text"), row["speaker"]) == (item.text, "reader")


def test_kaldi(tmp_path: Path, store_path: Path, speech_items: list[StoreItem]) -> None:
    out = export_store(open_store(store_path), tmp_path / "kaldi", "kaldi")
    names = {"tokens.0.txt", "tokens.1.txt", "utt2num_frames", "utt2num_samples", "text", "utt2spk"}
    assert {p.name for p in out.iterdir()} == names
    by_id = {i.id: i for i in speech_items}
    for q in range(2):
        lines = [line.split() for line in (out / f"tokens.{q}.txt").read_text().splitlines()]
        assert {i for i, *_ in lines} == set(by_id)
        for utt_id, *codes in lines:
            assert [int(c) for c in codes] == by_id[utt_id].array[q].tolist()
    lengths = dict(line.split() for line in (out / "utt2num_frames").read_text().splitlines())
    assert {k: int(v) for k, v in lengths.items()} == {i.id: i.array.shape[1] for i in speech_items}
    texts = dict(line.split(" ", 1) for line in (out / "text").read_text().splitlines())
    assert texts == {i.id: i.text for i in speech_items if i.text is not None}
    for name in names:  # as Kaldi wants it
        lines = (out / name).read_bytes().splitlines()
        assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)


def test_kaldi_features_are_exact(tmp_path: Path, feature_path: Path, feature_items: list[StoreItem]) -> None:
    out = export_store(feature_path, tmp_path / "kaldi", "kaldi")
    blocks = (out / "feats.txt").read_text().split("]\n")[:-1]
    by_id = {i.id: i for i in feature_items}
    assert len(blocks) == 10
    for block in blocks:
        utt_id, rows = block.split("  [", 1)
        got = np.array([row.split() for row in rows.strip().splitlines()], dtype=np.float32)
        np.testing.assert_array_equal(got.reshape(-1, 2), by_id[utt_id].array)


def test_parquet(tmp_path: Path, store_path: Path, speech_items: list[StoreItem]) -> None:
    table = pq.read_table(export_store(store_path, tmp_path / "codes.parquet", "parquet"))
    assert table.schema.field("codes").type == pa.list_(pa.list_(pa.uint8()))
    assert json.loads(table.schema.metadata[b"audiokd_meta"]) == META
    for row, item in zip(table.to_pylist(), speech_items, strict=True):
        assert row == {
            "id": item.id,
            "codes": item.array.tolist(),
            "frames": item.array.shape[1],
            "num_samples": item.num_samples,
            "sample_rate": 16000,
            "text": item.text,
            "speaker": "reader",
        }


def test_parquet_features(tmp_path: Path, feature_path: Path, feature_items: list[StoreItem]) -> None:
    table = pq.read_table(export_store(feature_path, tmp_path / "f.parquet", "parquet"))
    for row, item in zip(table.to_pylist(), feature_items, strict=True):
        np.testing.assert_array_equal(np.array(row["features"], np.float32).reshape(-1, 2), item.array)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, store_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from audiokd.tokens.export import export_store"
    code += "; export_store(*sys.argv[1:])"
    args = [sys.executable, "-c", code, str(store_path), str(tmp_path / "x.parquet"), "parquet"]
    ran = subprocess.run(args, capture_output=True, text=True)
    assert ran.returncode != 0
    assert "pip install 'audiokd[score]'" in ran.stderr
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize("kind", ["codes", "features"])
def test_webdataset(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue({"codes": "store_path", "features": "feature_path"}[kind])
    items = request.getfixturevalue({"codes": "speech_items", "features": "feature_items"}[kind])
    out = export_store(path, tmp_path / "wds", "webdataset")
    assert [p.name for p in sorted(out.iterdir())] == ["000000.tar", "000001.tar", "000002.tar"]
    samples: dict[str, dict[str, bytes]] = {}
    for file in sorted(out.iterdir()):
        with tarfile.open(file) as tar:
            for member in tar:
                assert member.mtime == member.uid == member.gid == 0
                key, extension = member.name.split(".", 1)  # as webdataset does
                samples.setdefault(key, {})[extension] = tar.extractfile(member).read()
    assert [unescape_id(k) for k in samples] == [i.id for i in items]
    dtype = np.uint8 if kind == "codes" else np.float32
    for sample, item in zip(samples.values(), items):
        got = np.load(io.BytesIO(sample[f"{kind}.npy"]))
        np.testing.assert_array_equal(got, item.array)
        assert got.dtype == dtype
        head = {"id": item.id, "num_samples": item.num_samples, "sample_rate": 16000, "speaker": "reader"}
        assert json.loads(sample["json"]) == head
        assert sample.get("txt") == (None if item.text is None else item.text.encode())


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_escaped_ids_are_reversible(utt_id: str) -> None:
    for escaped in (escape_id(utt_id), escape_key(utt_id)):
        assert unescape_id(escaped) == utt_id
        assert escaped.split() == [escaped]
    assert not {".", "/"} & set(escape_key(utt_id))


def test_only_what_must_be_escaped_is() -> None:
    assert escape_id("book/ch.1-é_日本") == "book/ch.1-é_日本"
    assert escape_id("a b\tc%\n\x7f\u3000") == "a%20b%09c%25%0A%7F%E3%80%80"
    assert unescape_id("50%") == "50%"
    assert unescape_id("50%ff") == "50%ff"  # no UTF-8: somebody else's name


@pytest.mark.parametrize("to", FORMATS)
def test_same_bytes_twice(tmp_path: Path, store_path: Path, speech_items: list[StoreItem], to: str) -> None:
    again = write_store(tmp_path / "again", speech_items)
    for source, name in ((store_path, "x"), (again, "y"), (store_path, "y")):  # the last goes over an older export
        export_store(source, tmp_path / name, to)
    x, y = tmp_path / "x", tmp_path / "y"
    assert (tree(x) == tree(y)) if x.is_dir() else (x.read_bytes() == y.read_bytes())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "store", "x", "y"]


@pytest.mark.parametrize("to", FORMATS)
def test_empty_store(tmp_path: Path, to: str) -> None:
    out = export_store(write_store(tmp_path / "s", []), tmp_path / "x", to)
    assert out.exists()
    if to == "parquet":
        assert pq.read_table(out).num_rows == 0


def test_a_smaller_export_leaves_nothing_of_the_larger(tmp_path: Path, store_path: Path) -> None:
    small = StoreItem("u", np.zeros((1, 3), int), 480, 16000)
    path = write_store(tmp_path / "small", [small], meta={"cardinality": [8]})
    for to in ("kaldi", "webdataset"):
        export_store(store_path, tmp_path / to, to)
        export_store(path, tmp_path / to, to)
    assert sorted(p.name for p in (tmp_path / "kaldi").iterdir()) == [
        "tokens.0.txt",
        "utt2num_frames",
        "utt2num_samples",
    ]
    assert [p.name for p in (tmp_path / "webdataset").iterdir()] == ["000000.tar"]


def test_other_peoples_files_are_left_alone(tmp_path: Path, store_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text("a a.wav\n")
    (data / "text").write_text("a hello\n")
    with pytest.raises(AudiokdError, match=r"the place is taken: wav\.scp would be lost"):
        export_store(store_path, data, "kaldi")
    assert (data / "text").read_text() == "a hello\n"
    for to in FORMATS:
        with pytest.raises(AudiokdError, match="into its store"):
            export_store(store_path, store_path / "export", to)
    with pytest.raises(AudiokdError, match="one file, and this is a folder"):
        export_store(store_path, data, "jsonl")
    with pytest.raises(AudiokdError, match="format 'hdf5' is not known"):
        export_store(store_path, tmp_path / "x", "hdf5")


def test_unfinished_store_is_not_exported(tmp_path: Path, store_path: Path) -> None:
    (store_path / "complete.json").unlink()
    with pytest.raises(AudiokdError, match="the store is not complete"):
        export_store(store_path, tmp_path / "x", "jsonl")


@pytest.mark.parametrize("to", FORMATS)
def test_a_damaged_store_gives_no_export(tmp_path: Path, store_path: Path, to: str) -> None:
    (store_path / "00002" / "codes.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(AudiokdError, match=r"codes\.npy: not readable as \.npy"):
        export_store(store_path, tmp_path / "x", to)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_the_command_offers_every_format() -> None:
    annotation = get_type_hints(stage.export)["to"]
    assert sorted(get_args(annotation)) == sorted(FORMATS)
