"""MERT's labels, read as its own code does: fairseq cannot be installed beside this torch, so its few lines are redone here.

mert_fairseq/data/mert_dataset.py: load_audio strips a line and splits it at tabs, load_label strips it at the right; fairseq's
Dictionary puts a file's words behind its four special ones, in their order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from token_stores import tree, write_store

from audiokd.errors import AudiokdError
from audiokd.tokens.export import export_store
from audiokd.tokens.store import StoreItem

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def load(folder: Path, split: str, books: int) -> tuple[str, list[str], list[int], list[np.ndarray]]:
    """Root, paths, sizes, and the dictionary indices of each utterance [Q, T']."""
    with open(folder / f"{split}.tsv") as f:
        root, rows = f.readline().strip(), [line.strip().split("\t") for line in f]
    assert all(len(r) == 2 for r in rows)
    labels = []
    for q in range(books):
        words = [line.rsplit(" ", 1)[0] for line in (folder / f"dict.codec_{q}.txt").read_text().splitlines()]
        index = {w: i for i, w in enumerate(SPECIAL + words)}
        with open(folder / f"{split}.codec_{q}") as f:
            labels.append([[index[w] for w in line.rstrip().split()] for line in f])
        assert len(labels[-1]) == len(rows)
    arrays = [np.array(u, int).reshape(books, -1) for u in zip(*labels)]
    return root, [r[0] for r in rows], [int(r[1]) for r in rows], arrays


def test_one_store_is_train(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    path = write_store(tmp_path / "s", [*speech_items, StoreItem("a%20b", np.zeros((2, 0), int), 7, 16000)])
    out = export_store(path, tmp_path / "mert", "mert", audio_root="corpus/audio", audio_suffix=".flac")
    assert {p.name for p in out.iterdir()} == {
        *("train.tsv", "train.codec_0", "train.codec_1", "dict.codec_0.txt", "dict.codec_1.txt")
    }
    root, paths, sizes, codes = load(out, "train", 2)
    assert root == "corpus/audio"
    assert paths == [*(f"{i.id}.flac" for i in speech_items), "a b.flac"]
    assert sizes == [*(i.num_samples for i in speech_items), 7]
    for got, item in zip(codes, speech_items):
        np.testing.assert_array_equal(got - len(SPECIAL), item.array)
    assert codes[-1].shape == (2, 0)


def test_a_folder_of_stores_gives_splits(tmp_path: Path, speech_items: list[StoreItem]) -> None:
    for split, part in (("train", speech_items[:6]), ("valid", speech_items[6:])):
        write_store(tmp_path / "stores" / split, part)
    out = export_store(tmp_path / "stores", tmp_path / "mert", "mert")
    for split, part in (("train", speech_items[:6]), ("valid", speech_items[6:])):
        root, paths, _, codes = load(out, split, 2)
        assert (root, paths) == (".", [f"{i.id}.wav" for i in part])
        assert all(np.array_equal(c - len(SPECIAL), i.array) for c, i in zip(codes, part))
    before = tree(out)
    assert tree(export_store(tmp_path / "stores", out, "mert")) == before  # over the older one


@pytest.mark.parametrize("utt_id", ["a%09b", "a%0Ab", "%20a", "a%C2%85b"])
def test_ids_that_break_a_line(tmp_path: Path, utt_id: str) -> None:
    path = write_store(tmp_path / "s", [StoreItem(utt_id, np.zeros((2, 1), int), 160, 16000)])
    with pytest.raises(AudiokdError, match="cannot be a line of a tsv"):
        export_store(path, tmp_path / "mert", "mert")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_audio_root_is_for_mert_only(tmp_path: Path, store_path: Path) -> None:
    with pytest.raises(AudiokdError, match="jsonl names no recordings"):
        export_store(store_path, tmp_path / "x", "jsonl", audio_root="corpus")
