"""The Hugging Face dataset: splits, text for a language model, BPE; read back by pyarrow as `datasets` lays it out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tokenizers
import yaml
from hypothesis import given
from hypothesis import strategies as st
from token_stores import META, mu_law, tree, write_store

from audiokd.cli import main
from audiokd.errors import AudiokdError
from audiokd.tokens.export import export_store
from audiokd.tokens.lm_text import from_lm_text, from_units, lm_text, units
from audiokd.tokens.store import StoreItem


@given(st.lists(st.integers(0, 65_533)))
def test_codes_as_text_and_as_characters(codes: list[int]) -> None:
    assert from_lm_text(lm_text(codes)).tolist() == codes
    assert len(units(np.array(codes, dtype=int))) == len(codes)
    assert from_units(units(np.array(codes, dtype=int))).tolist() == codes


def test_text_that_is_no_codes() -> None:
    assert lm_text([12, 7]) == "<|s_12|><|s_7|>"
    assert lm_text([3], 2) == "<|s2_3|>"
    for odd in ("<|s_1|> <|s_2|>", "hello", "<|s1_2|>", "<|s_01|>"):
        with pytest.raises(AudiokdError, match="something else than codes"):
            from_lm_text(odd)


@pytest.fixture
def corpus(tmp_path: Path, speech_items: list[StoreItem]) -> Path:
    for name, items in (("dev", speech_items[7:]), ("train", speech_items[:7])):
        write_store(tmp_path / "tokens" / name, items, per_shard=4)
    return tmp_path / "tokens"


def test_splits_and_text(corpus: Path, tmp_path: Path, speech_items: list[StoreItem]) -> None:
    main(["store", "export", str(corpus), str(tmp_path / "hf"), "--to", "hf"])
    out = tmp_path / "hf"
    files = sorted(p.name for p in (out / "data").iterdir())
    assert files == [
        "dev-00000-of-00001.parquet",
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    for split, items in (("train", speech_items[:7]), ("dev", speech_items[7:])):
        mine = [out / "data" / f for f in files if f.startswith(split)]
        for row, item in zip([r for f in mine for r in pq.read_table(f).to_pylist()], items, strict=True):
            assert (row["id"], row["codes"]) == (item.id, item.array.tolist())
            assert (row["text"], row["frames"]) == (item.text, item.array.shape[1])
            assert from_lm_text(row["speech"]).tolist() == item.array[0].tolist()
    card = (out / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"},
        {"split": "dev", "path": "data/dev-*.parquet"},
    ]
    features = {f["name"]: f for f in head["dataset_info"]["features"]}
    assert list(features) == pq.read_schema(out / "data" / files[0]).names
    assert features["codes"]["sequence"] == {"sequence": {"dtype": "uint8"}}
    assert features["speech"]["dtype"] == "string"
    assert {s["name"]: s["num_examples"] for s in head["dataset_info"]["splits"]} == {"train": 7, "dev": 3}
    assert META["model_sha256"] in card


def test_bpe_loses_nothing_and_shortens(corpus: Path, tmp_path: Path, speech_items: list[StoreItem]) -> None:
    for name in ("one", "two"):
        export_store(corpus, tmp_path / name, "hf", bpe=400)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    out = tmp_path / "one"
    bpe = tokenizers.Tokenizer.from_file(str(out / "bpe" / "tokenizer.json"))
    assert 256 < bpe.get_vocab_size() <= 400
    rows = pq.read_table(out / "data" / "dev-00000-of-00001.parquet").to_pylist()
    for row, item in zip(rows, speech_items[7:]):
        pieces = [bpe.id_to_token(i) for i in row["bpe"]]
        assert from_units("".join(pieces)).tolist() == item.array[0].tolist()
    frames, merged = (sum(r["frames"] for r in rows), sum(len(r["bpe"]) for r in rows))
    assert merged < frames
    card = (out / "README.md").read_text()
    assert f"| dev | 3 | {frames / 100 / 3600:.3f} | {frames} | {merged} | {frames / merged:.3f} |" in card


def test_what_cannot_be_a_dataset(corpus: Path, tmp_path: Path, feature_path: Path) -> None:
    for where, to, bpe, what in (
        (corpus, "jsonl", 0, "not a token store"),
        (corpus / "dev", "jsonl", 300, "jsonl has no BPE"),
        (corpus / "dev", "hf", 256, "no room for merges over 256 codes"),
        (feature_path, "hf", 0, "a store of features has no tokens"),
    ):
        with pytest.raises(AudiokdError, match=what):
            export_store(where, tmp_path / "x", to, bpe)
    mine = tmp_path / "mine"
    (mine / "data").mkdir(parents=True)
    (mine / "README.md").write_text("# my work\n")
    with pytest.raises(AudiokdError, match="taken by something else"):
        export_store(corpus, mine, "hf")
    assert (mine / "README.md").read_text() == "# my work\n"
    item = StoreItem("u", mu_law(np.zeros((2, 3))), 480, 16000)
    write_store(corpus / "test", [item], meta={**META, "model_sha256": "c" * 64})
    with pytest.raises(AudiokdError, match=r"different models: model_sha256 differs: train aaaa.*, test cccc"):
        export_store(corpus, tmp_path / "x", "hf")
    (corpus / "test").rename(corpus / "test-clean")
    with pytest.raises(AudiokdError, match="'test-clean' cannot be the name of a split"):
        export_store(corpus, tmp_path / "x", "hf")
    assert not (tmp_path / "x").exists()
