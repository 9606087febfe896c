"""Stages 2, 7 and 8 of videos: validate, extract and probe, with a trained encoder's folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from method_settings import settings_of
from tiny_videos import video_dir

from audiokd.data.items import Item, read_items, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.salt.model import SALTModel
from audiokd.methods.salt.module import config_of
from audiokd.stages.extract import extract
from audiokd.stages.probe import probe
from audiokd.stages.validate import validate
from audiokd.tokens.store import open_store


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "salt"
    SALTModel(config_of(settings_of("salt", "debug"))).save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def data(carphone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    video_dir(root / "train", carphone, 0, 10)
    video_dir(root / "dev", carphone, 20, 4)
    video_dir(root / "test", carphone, 30, 4)
    return root


def test_tokens_of_videos_are_stored_and_probed(model: Path, data: Path, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        for layer in ("tokens", "clip"):
            extract(str(model), str(data / split), str(tmp_path / layer / split), layer)
    store = open_store(tmp_path / "tokens/train")
    assert store.meta["media"] == "video"
    assert store["w03"].array.shape == (32, 24)
    assert np.allclose(store["w03"].array.mean(0), open_store(tmp_path / "clip/train")["w03"].array[0, 24:], atol=1e-5)
    splits = [str(data / s) for s in ("train", "dev", "test")]

    def asked(layer: str, head: str, **more: object) -> dict:
        paths = {s: str(tmp_path / layer / s) for s in ("train", "dev", "test")}
        out = str(tmp_path / f"{head}.json")
        return probe(**paths, data=splits, out=out, head=head, epochs=20, **more)  # type: ignore[arg-type]

    found = asked("tokens", "attentive", rates=[3e-3, 1e-3], decays=[0.01], blocks=0)
    assert found["labels"] == ["left", "right"]
    assert found["rows"] == {"train": 10, "dev": 4, "test": 4}
    assert len(found["grid"]) == len(found["dev"]) == 2
    assert found["test"]["mean"] == 1.0  # the halves of a picture look different
    assert "one query after 0 blocks" in (tmp_path / "attentive.md").read_text()
    assert asked("clip", "knn")["test"]["mean"] == 1.0
    assert asked("clip", "linear")["test"]["n"] == 4
    wrong = [i.with_(label="right") for i in read_items(data / "train") if i.id == "w02"]
    write_items(tmp_path / "wrong", wrong)
    splits.append(str(tmp_path / "wrong"))
    with pytest.raises(AudiokdError, match="w02 is right here and left in another of --data"):
        asked("clip", "linear")
    splits.pop()
    for head, more, said in (
        ("linear", {"blocks": 2}, "--blocks is an attentive head's"),
        ("knn", {"rates": [0.1]}, "nothing is trained"),
        ("attentive", {"task": "frames"}, "--task frames is not for --head attentive"),
        ("knn", {"task": "tags"}, "--task tags is not for --head knn"),
    ):
        with pytest.raises(ConfigError, match=said):
            asked("clip", head, **more)


def test_a_batch_is_its_videos_one_by_one(model: Path, data: Path, tmp_path: Path) -> None:
    for size in (1, 4):
        extract(str(model), str(data / "dev"), str(tmp_path / str(size)), "tokens", batch_size=size)
    one, four = (open_store(tmp_path / str(k)) for k in (1, 4))
    assert all(np.array_equal(one[i].array, four[i].array) for i in one)


def test_bad_videos_are_named_and_quarantined(data: Path, carphone: Path, model: Path, tmp_path: Path) -> None:
    video_dir(tmp_path, carphone, 0, 2)
    odd = video_dir(tmp_path / "odd", carphone, 4, 1, size=39)
    (tmp_path / "cut.mp4").write_bytes(carphone.read_bytes()[:9000])
    items = [*read_items(tmp_path), *read_items(odd), Item("cut", str(tmp_path / "cut.mp4"))]
    items.append(items[0].with_(id="again"))
    write_items(tmp_path, items)
    with pytest.raises(AudiokdError, match="1 of 5 videos cannot be read"):
        validate(str(tmp_path))
    found = validate(str(tmp_path), max_error_rate=0.5)
    assert found["videos"] == 5
    assert found["frames"] == 4 * 6
    assert found["images"][0]["id"] == "cut"
    said = {w["id"]: w["what"] for w in found["warnings"]}
    assert "odd size 39 x 39" in said["w04"]
    assert "the same file as again" in said["w00"]
    assert (tmp_path / "quarantine.txt").read_text().startswith("cut ")
    totals = extract(str(model), str(tmp_path), str(tmp_path / "store"), "clip")
    assert totals["utterances"] == 4  # what is in quarantine is left out
    short = video_dir(tmp_path / "short", carphone, 0, 1, frames=3)
    with pytest.raises(AudiokdError, match="1 of 1 videos failed"):
        extract(str(model), str(short), str(tmp_path / "store2"), "clip")
    row = json.loads((tmp_path / "store2/00000/errors.jsonl").read_text())
    assert "shorter than the clip" in row["error"]


def test_an_encoder_of_videos_takes_no_sound_and_no_pictures(
    model: Path, data: Path, coffee: Path, readers: Path, tmp_path: Path
) -> None:
    write_items(tmp_path / "p", [Item("coffee", str(coffee))])
    with pytest.raises(AudiokdError, match=r"takes videos.* and this is a folder of pictures"):
        extract(str(model), str(tmp_path / "p"), str(tmp_path / "s"), "clip")
    with pytest.raises(AudiokdError, match=r"takes videos.* and this is sound"):
        extract(str(model), str(readers / "dev"), str(tmp_path / "s"), "clip")
    with pytest.raises(AudiokdError, match="takes sound, and this is a folder of videos"):
        extract("log_mel", str(data / "dev"), str(tmp_path / "s"))
