"""Stage 7 of pictures: what is in the store is what the model says of each picture, whatever else happens on the way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import BAD, NAMES, save_model, save_pictures
from tokenized import tree

from audiokd.data.images import load_image
from audiokd.data.items import read_items, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.hub.auto import load_model
from audiokd.stages import store as store_stage
from audiokd.stages.extract import extract
from audiokd.tokens.store import open_store, verify_store
from audiokd.vision.transforms import plain_view

KILLED = """
import os, signal, sys
from audiokd.stages import picture_worker
from audiokd.stages.extract import extract
load, seen = picture_worker.load_image, []
def count(item):
    seen.append(item)
    if len(seen) == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    return load(item)
picture_worker.load_image = count
extract(*sys.argv[1:], layer="logits", shard_size=5, threads=1, max_error_rate=0.2)
"""


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(coffee: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("data") / "train", coffee)


@pytest.fixture(scope="module")
def store(model_dir: str, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stores") / "logits"
    extract(model_dir, str(data), str(out), layer="logits", shard_size=5, threads=1, max_error_rate=0.2)
    return out


def test_the_store(store: Path, model_dir: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By id; what the model says of each picture alone; errors by name; every byte accounted for."""
    found, model = open_store(store), load_model(model_dir)
    good = [i for i in read_items(data) if i.id not in BAD]
    assert list(found) == sorted(i.id for i in good)
    for item in good:
        with torch.inference_mode():
            want = model(plain_view(load_image(item), model.preprocess)[None]).numpy()
        assert found[item.id].array.shape == (1, len(NAMES))
        np.testing.assert_allclose(found[item.id].array, want, atol=1e-4, rtol=1e-4)
    assert {row["id"] for row in found.errors()} == set(BAD)
    assert found.meta["labels"] == list(NAMES.values())
    assert (found.meta["layer"], found.meta["task"], found.meta["media"]) == ("logits", "class", "image")
    assert [found.shard_info(s)["errors"] for s in found.shards] == [2, 0, 0, 0, 2]
    assert verify_store(store) == []
    store_stage.ls(str(store))
    assert "failed: animated: animated or of several pages" in capsys.readouterr().out
    with pytest.raises(AudiokdError, match="4 problems found"):
        store_stage.verify(str(store), str(data))


@pytest.mark.parametrize("how", ["nj", "file", "again", "elsewhere"])
def test_the_same_bytes(how: str, store: Path, model_dir: str, data: Path, tmp_path: Path) -> None:
    out = store if how == "again" else tmp_path / "other"
    before = tree(store)
    if how == "elsewhere":
        data = Path(shutil.copytree(data, tmp_path / "moved"))
    options = {"layer": "logits", "shard_size": 5, "threads": 1, "max_error_rate": 0.2, "nj": 2 if how == "nj" else 1}
    extract(model_dir, str(data / "items.jsonl" if how == "file" else data), str(out), **options)
    assert tree(out) == before


def test_killed_in_the_middle(store: Path, model_dir: str, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    args = [sys.executable, "-c", KILLED, model_dir, str(data), str(out)]
    assert subprocess.run(args, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert 0 < len(list(out.glob("[0-9]*/shard.json"))) < 4
    extract(model_dir, str(data), str(out), layer="logits", shard_size=5, threads=1, max_error_rate=0.2)
    assert tree(out) == tree(store)


def test_batches(store: Path, model_dir: str, data: Path, tmp_path: Path) -> None:
    """The plan is in the store; numbers are the same to within rounding."""
    out = tmp_path / "batched"
    options = {"layer": "logits", "shard_size": 5, "threads": 1, "max_error_rate": 0.2}
    extract(model_dir, str(data), str(out), batch_size=3, **options)
    one, three = open_store(store), open_store(out)
    assert [s.shard_info("00000")["plan"]["batch_size"] for s in (one, three)] == [1, 3]
    for item in one.items():
        np.testing.assert_allclose(three[item.id].array, item.array, atol=1e-4, rtol=1e-4)


def test_too_many_bad_and_quarantine(model_dir: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="4 of 24 pictures failed"):
        extract(model_dir, str(data), str(tmp_path / "all"), threads=1)
    listed = tmp_path / "listed"
    write_items(listed, read_items(data))
    (listed / "quarantine.txt").write_text("".join(f"{i} a reason\n" for i in BAD))
    done = extract(model_dir, str(listed), str(tmp_path / "good"), layer="embedding", threads=1)
    assert (done["utterances"], done["errors"], done["frames"], done["seconds"]) == (20, 0, 20, 0)
    found = open_store(tmp_path / "good")
    assert "labels" not in found.meta
    norms = [float(np.linalg.norm(i.array)) for i in found.items()]
    assert norms == pytest.approx([1.0] * 20, abs=1e-5)
    store_stage.verify(str(tmp_path / "good"), str(listed))
    (listed / "quarantine.txt").write_text("".join(f"{i.id} a reason\n" for i in read_items(data)))
    with pytest.raises(AudiokdError, match="every item is in quarantine"):
        extract(model_dir, str(listed), str(tmp_path / "none"), threads=1)


def test_a_picture_that_has_changed(model_dir: str, coffee: Path, tmp_path: Path) -> None:
    data = save_pictures(tmp_path / "data", coffee, broken=False)
    extract(model_dir, str(data), str(tmp_path / "store"), shard_size=10, threads=1)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").glob("*/shard.json")}
    with (data / "pictures" / "hopper8.jpg").open("ab") as f:
        f.write(b"\0")
    extract(model_dir, str(data), str(tmp_path / "store"), shard_size=10, threads=1)
    changed = [p.parent.name for p, at in before.items() if p.stat().st_mtime_ns != at]
    assert changed == ["00001"]
    assert json.loads((tmp_path / "store" / "complete.json").read_text())["utterances"] == 20


def test_sound_and_pictures_are_told_apart(model_dir: str, readers: Path, data: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "store")
    with pytest.raises(AudiokdError, match="a promptkd model takes pictures: give a folder"):
        extract(model_dir, str(readers / "train"), out)
    with pytest.raises(AudiokdError, match="a log_mel model takes sound, and this is a folder of pictures"):
        extract("log_mel", str(data), out)
    with pytest.raises(ConfigError, match="--batch_duration is not for pictures"):
        extract(model_dir, str(data), out, batch_duration=3.0)
    with pytest.raises(ConfigError, match="--batch_size is not for sound"):
        extract("log_mel", str(readers / "train"), out, batch_size=3)
    with pytest.raises(AudiokdError, match="--batch_size 0: give 1 or more"):
        extract(model_dir, str(data), out, batch_size=0)
    assert not Path(out).exists()
