"""verify finds every kind of damage, and names the file."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from token_stores import META, PLAN, tree, write_store

from audiokd.errors import AudiokdError
from audiokd.files import sha256_file, write_json
from audiokd.tokens.store import StoreItem, StoreWriter, open_store, verify_store
from audiokd.tokens.writer import completion


def test_one_flipped_bit_in_any_file_is_found(store_path: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    for name in tree(store_path):
        for _ in range(4):
            broken = tmp_path / "broken"
            shutil.copytree(store_path, broken)
            data = bytearray((broken / name).read_bytes())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            (broken / name).write_bytes(data)
            try:
                problems = verify_store(broken)
            except AudiokdError as e:  # store.json that is no longer a store's
                assert name == "store.json"
                problems = [str(e)]
            named = name if name.count("/") == 0 else name.split("/")[1]
            assert problems, name
            assert any(named in p or "shards_sha256" in p or "store_sha256" in p for p in problems), (name, problems)
            shutil.rmtree(broken)


def test_a_flipped_byte_names_the_file_and_a_missing_one_too(store_path: Path) -> None:
    file = store_path / "00001" / "codes.npy"
    data = bytearray(file.read_bytes())
    data[-5] ^= 255
    file.write_bytes(data)
    (store_path / "00002" / "errors.jsonl").unlink()
    (store_path / "00000" / "notes.txt").write_text("mine")
    assert verify_store(store_path) == [
        "00000/notes.txt: a file that shard.json does not list",
        "00001/codes.npy: sha256 differs from shard.json: the file was changed or damaged",
        "00002/errors.jsonl: missing",
        "00002/shard.json: says 1 errors, 0 found",
    ]


def _rewrite(store: Path, shard: str, name: str, data: bytes) -> None:
    """Change a file and make every sha256 fit again: damage by a bad program, not by a bad disk."""
    (store / shard / name).write_bytes(data)
    info = json.loads((store / shard / "shard.json").read_text())
    info["sha256"][name] = sha256_file(store / shard / name)
    write_json(store / shard / "shard.json", info)
    done = json.loads((store / "complete.json").read_text())["shards"]
    write_json(store / "complete.json", completion(store, done))


def test_rows_that_do_not_add_up(store_path: Path) -> None:
    rows = (store_path / "00000" / "index.jsonl").read_bytes().splitlines(keepends=True)
    _rewrite(store_path, "00000", "index.jsonl", b"".join(rows[:-1]))
    problems = "\n".join(verify_store(store_path))
    assert "00000/shard.json: says 4 utterances, 3 found" in problems
    assert "00000/codes.npy: shape [311, 2]" in problems
    _rewrite(store_path, "00000", "index.jsonl", b"".join(rows[1:]) + rows[0])
    assert any("00000/index.jsonl:1" in p and "0 expected" in p for p in verify_store(store_path))
    _rewrite(store_path, "00000", "index.jsonl", b'{"id": "x"}\n')
    assert any("00000: cannot be read" in p for p in verify_store(store_path))


def test_codes_out_of_cardinality(tmp_path: Path) -> None:
    item = StoreItem("u", np.array([[3, 4], [5, 0]]), 320, 16000)
    path = write_store(tmp_path / "s", [item], meta={"cardinality": [5, 6]})
    array = np.load(path / "00000" / "codes.npy")
    array[1, 0] = 5
    np.save(tmp_path / "bad.npy", array)
    _rewrite(path, "00000", "codes.npy", (tmp_path / "bad.npy").read_bytes())
    assert verify_store(path) == ["00000/codes.npy: code 5 in codebook 0, which has ids 0..4"]


def test_features_that_are_not_numbers(feature_path: Path, tmp_path: Path) -> None:
    array = np.load(feature_path / "00001" / "features.npy")
    array[7, 1] = np.nan
    np.save(tmp_path / "bad.npy", array)
    _rewrite(feature_path, "00001", "features.npy", (tmp_path / "bad.npy").read_bytes())
    assert verify_store(feature_path) == ["00001/features.npy: holds NaN or infinity"]


def test_ids_in_two_shards(tmp_path: Path) -> None:
    item = StoreItem("u", np.zeros((2, 3), int), 480, 16000)
    writer = StoreWriter(tmp_path / "s", "codes", META)
    writer.write_shard("00000", [item], plan=PLAN)
    writer.write_shard("00001", [item], plan=PLAN)
    assert verify_store(tmp_path / "s")[0] == "00001/index.jsonl:1: u is also in 00000/index.jsonl:1"


def test_unfinished_and_incomplete(store_path: Path) -> None:
    (store_path / "complete.json").unlink()
    (store_path / "00002" / "shard.json").unlink()
    found = verify_store(store_path)
    assert [p.split(":")[0] for p in found] == ["00002", "complete.json"]
    assert "unfinished" in found[0]


def test_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="not a token store"):
        verify_store(tmp_path)


def test_what_is_no_part_of_a_store(store_path: Path) -> None:
    (store_path / "notes.txt").write_text("mine")
    (store_path / "000").mkdir()
    (store_path / ".DS_Store").write_text("")
    assert verify_store(store_path) == ["000: is no part of a store", "notes.txt: is no part of a store"]
    assert len(open_store(store_path)) == 10
