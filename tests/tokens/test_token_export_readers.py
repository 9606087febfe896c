"""Each export is read back by the library that it is for, and gives the store's codes and ids, awkward ids included."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import kaldi_native_io
import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from token_stores import write_store

from audiokd.data.ids import unescape_id
from audiokd.errors import AudiokdError
from audiokd.tokens.export import export_store
from audiokd.tokens.store import StoreItem

AWKWARD = ["my%20file", "100%25", "a%2520b", "tab%09here/line%0Aend", "ü/日本.npy", "ü/日本", "x" * 300]


@pytest.fixture
def items(speech_items: list[StoreItem]) -> list[StoreItem]:
    """The recording's utterances, seven of them under ids that no format likes, and one without a frame."""
    named = []
    for utt_id, u in zip(AWKWARD, speech_items):
        named.append(StoreItem(utt_id, u.array, u.num_samples, u.sample_rate, u.text, "Dr. No"))
    named.append(StoreItem("short", speech_items[0].array[:, :0], 7, 16000))
    return named + speech_items[7:]


@pytest.fixture
def path(tmp_path: Path, items: list[StoreItem]) -> Path:
    return write_store(tmp_path / "store", items)


def check(found: dict[str, np.ndarray], items: list[StoreItem]) -> None:
    """The same ids with the same arrays."""
    assert set(found) == {i.id for i in items}
    for item in items:
        np.testing.assert_array_equal(found[item.id], item.array)


def test_kaldi_native_io_reads_ark_and_scp(
    tmp_path: Path, path: Path, items: list[StoreItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = export_store(path, tmp_path / "k", "kaldi_ark")
    assert {p.name for p in out.iterdir()} == {
        *("tokens.0.ark", "tokens.0.scp", "tokens.1.ark", "tokens.1.scp"),
        *("utt2num_frames", "utt2num_samples", "text", "utt2spk"),
    }
    monkeypatch.chdir(out)  # the scp is for use from there
    books = []
    for q in range(2):
        with kaldi_native_io.SequentialInt32VectorReader(f"ark:tokens.{q}.ark") as reader:
            from_ark = {k: np.array(v, int) for k, v in reader}
        with kaldi_native_io.RandomAccessInt32VectorReader(f"scp:tokens.{q}.scp") as reader:
            for line in Path(f"tokens.{q}.scp").read_text().splitlines():
                key = line.split(" ")[0]
                np.testing.assert_array_equal(reader[key], from_ark[key])
        books.append(from_ark)
    check({i: np.stack([b[i] for b in books]) for i in books[0]}, items)
    samples = dict(line.split() for line in Path("utt2num_samples").read_text().splitlines())
    assert {k: int(v) for k, v in samples.items()} == {i.id: i.num_samples for i in items}
    assert "my%20file Dr.%20No" in Path("utt2spk").read_text().splitlines()
    lines = Path("tokens.0.scp").read_bytes().splitlines()
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)


def test_kaldi_native_io_reads_feature_archives(
    tmp_path: Path, feature_path: Path, feature_items: list[StoreItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(export_store(feature_path, tmp_path / "k", "kaldi_ark"))
    with kaldi_native_io.SequentialFloatMatrixReader("scp:feats.scp") as reader:
        check({k: v.copy() for k, v in reader}, feature_items)
    assert {p.name for p in Path().iterdir()} >= {"feats.ark", "feats.scp", "utt2num_frames", "utt2spk"}


def test_kaldi_native_io_reads_the_text_archives(
    tmp_path: Path, path: Path, items: list[StoreItem], feature_path: Path, feature_items: list[StoreItem]
) -> None:
    out, books = export_store(path, tmp_path / "k", "kaldi"), []
    for q in range(2):
        with kaldi_native_io.SequentialInt32VectorReader(f"ark:{out}/tokens.{q}.txt") as reader:
            books.append({k: np.array(v, int) for k, v in reader})
    check({i: np.stack([b[i] for b in books]) for i in books[0]}, items)
    out = export_store(feature_path, tmp_path / "f", "kaldi")
    with kaldi_native_io.SequentialFloatMatrixReader(f"ark:{out}/feats.txt") as reader:
        check({k: v.reshape(-1, 2).copy() for k, v in reader}, feature_items)


def test_kaldi_ark_says_what_it_cannot_do(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AudiokdError, match="a path with a comma"):
        export_store(path, tmp_path / "a,b", "kaldi_ark")
    monkeypatch.setitem(__import__("sys").modules, "kaldi_native_io", None)
    with pytest.raises(AudiokdError, match=r"pip install 'audiokd\[exports\]'"):
        export_store(path, tmp_path / "x", "kaldi_ark")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_lhotse_reads_cuts_with_codes(tmp_path: Path, path: Path, items: list[StoreItem]) -> None:
    from lhotse import CutSet
    from lhotse.dataset.collation import collate_custom_field

    cuts = list(CutSet.from_shar(in_dir=export_store(path, tmp_path / "shar", "lhotse")))
    assert [c.id for c in cuts] == [i.id for i in items]
    check({c.id: c.load_codes().T for c in cuts}, items)
    for cut, item in zip(cuts, items):
        assert cut.duration == pytest.approx(item.num_samples / item.sample_rate)
        assert (cut.num_samples, cut.sampling_rate) == (item.num_samples, 16000)
        said = [(s.text, s.speaker) for s in cut.supervisions]
        assert said == ([] if item.speaker is None else [(item.text, item.speaker)])
    second = cuts[1].truncate(offset=0.05, duration=0.1)  # 10 ms a frame
    np.testing.assert_array_equal(second.load_codes().T, items[1].array[:, 5:15])
    batch, lengths = collate_custom_field(CutSet.from_cuts(cuts[:3]), "codes", pad_value=0)
    assert lengths.tolist() == [i.array.shape[1] for i in items[:3]]
    assert batch.shape == (3, max(lengths), 2)


def test_lhotse_gives_all_frames_of_a_model_that_rounds_up(tmp_path: Path) -> None:
    from lhotse import CutSet

    item = StoreItem("u", np.arange(76)[None], 24001, 24000)  # 75 Hz, one sample into the 76th frame
    path = write_store(tmp_path / "s", [item], meta={"cardinality": [1024], "frame_rate": 75.0})
    (cut,) = CutSet.from_shar(in_dir=export_store(path, tmp_path / "shar", "lhotse"))
    np.testing.assert_array_equal(cut.load_codes()[:, 0], np.arange(76))


def test_lhotse_reads_features(tmp_path: Path, feature_path: Path, feature_items: list[StoreItem]) -> None:
    from lhotse import CutSet

    cuts = CutSet.from_shar(in_dir=export_store(feature_path, tmp_path / "shar", "lhotse"))
    check({c.id: c.load_feats() for c in cuts}, feature_items)


def test_numpy_reads_npz_without_pickle(tmp_path: Path, path: Path, items: list[StoreItem]) -> None:
    out = export_store(path, tmp_path / "npz", "npz")
    assert sorted(p.name for p in out.iterdir()) == ["00000.npz", "00001.npz", "00002.npz", "index.jsonl"]
    archives = {p.name: np.load(p, allow_pickle=False) for p in out.glob("*.npz")}
    assert [unescape_id(k) for k in chain(*(archives[n].files for n in sorted(archives)))] == [i.id for i in items]
    rows = [json.loads(line) for line in (out / "index.jsonl").read_bytes().splitlines()]
    check({r["id"]: archives[r["file"]][r["key"]] for r in rows}, items)
    assert archives["00000.npz"]["my%2520file"].dtype == np.uint8
    assert [(r.get("text"), r["num_samples"]) for r in rows] == [(i.text, i.num_samples) for i in items]


def test_webdataset_reads_its_tars(tmp_path: Path, path: Path, items: list[StoreItem]) -> None:
    out = export_store(path, tmp_path / "wds", "webdataset")
    urls = str(out / "{000000..000002}.tar")
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [s["json"]["id"] for s in samples] == [unescape_id(s["__key__"]) for s in samples] == [i.id for i in items]
    check({s["json"]["id"]: s["codes.npy"] for s in samples}, items)
    assert [s.get("txt") for s in samples] == [i.text for i in items]


def test_datasets_reads_hf_parquet_and_jsonl(tmp_path: Path, path: Path, items: list[StoreItem]) -> None:
    import datasets

    cache = str(tmp_path / "cache")
    hf = export_store(path, tmp_path / "hf", "hf")
    data = datasets.load_dataset(str(hf), split="train", cache_dir=cache)
    check({r["id"]: np.array(r["codes"], int).reshape(2, -1) for r in data}, items)
    assert data[1]["speech"] == "".join(f"<|s_{c}|>" for c in items[1].array[0])
    parquet = export_store(path, tmp_path / "x.parquet", "parquet")
    data = datasets.load_dataset("parquet", data_files=str(parquet), split="train", cache_dir=cache)
    check({r["id"]: np.array(r["codes"], int).reshape(2, -1) for r in data}, items)
    assert pq.read_table(parquet).num_rows == len(items)
    jsonl = export_store(path, tmp_path / "x.jsonl", "jsonl")
    data = datasets.load_dataset("json", data_files=str(jsonl), split="train", cache_dir=cache)
    check({r["id"]: np.array(r["codes"], int).reshape(2, -1) for r in data}, items)


def test_slamkit_and_s3tokenizer_lines(tmp_path: Path, path: Path, items: list[StoreItem]) -> None:
    """slamkit trains from `datasets.load_dataset("json")`; S3Tokenizer's users read a JSON object a line."""
    import datasets

    out = export_store(path, tmp_path / "slam.jsonl", "slamkit")
    data = datasets.load_dataset("json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert set(data.column_names) == {"units", "duration", "file_name"}
    for row, item in zip(data, items, strict=True):
        assert row["file_name"] == item.id
        np.testing.assert_array_equal(np.repeat(row["units"], row["duration"]).astype(int), item.array[0])
        assert all(a != b for a, b in zip(row["units"], row["units"][1:]))  # a run is one unit
    out = export_store(path, tmp_path / "s3.jsonl", "s3tokenizer")
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert rows == [{"key": i.id, "code": i.array[0].tolist()} for i in items]


def test_speechtokenizer_takes_the_jsonl(tmp_path: Path, path: Path, items: list[StoreItem]) -> None:
    """Its model decodes [n_q, B, T]."""
    import torch

    rows = [json.loads(line) for line in export_store(path, tmp_path / "x.jsonl", "jsonl").read_bytes().splitlines()]
    assert torch.tensor(rows[0]["codes"])[:, None].shape == (2, 1, items[0].array.shape[1])


def test_features_are_refused_where_tokens_are_meant(tmp_path: Path, feature_path: Path) -> None:
    for to in ("s3tokenizer", "slamkit", "mert", "hf"):
        with pytest.raises(AudiokdError, match="a store of features has no tokens"):
            export_store(feature_path, tmp_path / "x", to)
    assert not (tmp_path / "x").exists()
