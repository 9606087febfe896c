"""Views of one item for several models, in batches that depend on (seed, step, id) alone; bad files are named and replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pairs import save_pair

from audiokd.data.items import Item, write_items
from audiokd.data.media import MediaSet, open_media
from audiokd.teachers.pair import load_pair
from audiokd.training.settings import MediaSettings, RunSettings
from audiokd.training.views import PairView, PictureView, SoundView, ViewDataModule, collate_views
from audiokd.vision.transforms import Preprocess, plain_view

SMALL = Preprocess((32, 32))
OTHER = Preprocess((48, 48), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def pictures(coffee: Path, tmp_path: Path) -> MediaSet:
    """Six parts of a photograph, the third of which is cut off."""
    with Image.open(coffee) as whole:
        for k in range(6):
            whole.crop((k * 100, 0, k * 100 + 100, 90 + k)).save(tmp_path / f"p{k}.png")
    (tmp_path / "p2.png").write_bytes((tmp_path / "p2.png").read_bytes()[:600])
    write_items(tmp_path, [Item(f"p{k}", str(tmp_path / f"p{k}.png"), f"c{k % 2}") for k in range(6)])
    return open_media(tmp_path)


def module_of(media: MediaSet, train: Any, dev: Any, folder: Path, **changes: Any) -> ViewDataModule:
    return ViewDataModule(media, media, train, dev, MediaSettings(num_workers=0, **changes), RunSettings(), folder)


def test_two_models_see_the_same_part_of_a_picture(pictures: MediaSet, tmp_path: Path) -> None:
    views = {"student": PictureView(SMALL, "crop", 0), "teacher": PictureView(OTHER, "crop", 0)}
    data = module_of(pictures, views, {"student": PictureView(SMALL)}, tmp_path)
    batch = data.collate([data.train_set[4, i] for i in (0, 1, 3)])
    assert batch["ids"] == ["p0", "p1", "p3"]
    student, teacher = batch["student"]["pixel_values"], batch["teacher"]["pixel_values"]
    assert (student.shape, teacher.shape) == ((3, 3, 32, 32), (3, 3, 48, 48))
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (SMALL.mean, SMALL.std))
    smaller = torch.nn.functional.interpolate(teacher, size=(32, 32), mode="bicubic", antialias=True)
    assert (student * std + mean - smaller).abs().mean() < 0.02
    again, later = data.train_set[4, 3]["student"]["pixel_values"][0], data.train_set[5, 3]["student"]["pixel_values"]
    assert torch.equal(again, student[2])
    assert not torch.equal(later[0], student[2])
    with Image.open(pictures.items[3].path) as picture:
        dev = data.dev_set[0, 3]["student"]["pixel_values"][0]
        assert torch.equal(dev, plain_view(picture.convert("RGB"), SMALL))


def test_a_bad_picture_is_named_and_replaced(
    pictures: MediaSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = {"student": PictureView(SMALL, "crop", 0)}
    data = module_of(pictures, views, {"student": PictureView(SMALL)}, tmp_path, val_items=4)
    assert [data.train_set[0, i]["id"] for i in range(6)] == ["p0", "p1", "p3", "p3", "p4", "p5"]
    assert [None if r is None else r["id"] for r in (data.dev_set[0, i] for i in range(4))] == ["p0", "p1", None, "p3"]
    assert len(data.dev_set) == 4
    said = capsys.readouterr().err.splitlines()
    assert sum("left out of training" in line and "p2" in line for line in said) == 1
    rows = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert {(r["set"], r["id"]) for r in rows} == {("train", "p2"), ("dev", "p2")}
    assert collate_views([None, None]) == {"ids": []}


def test_sound_for_a_student_and_a_pair_model(readers: Path, tmp_path: Path) -> None:
    """Each at its own rate; what is changed is what is heard, not the padding; windows of a long clip stay together."""
    pair = load_pair(str(save_pair("clap", tmp_path / "clap")))
    media = open_media(readers / "train")

    def softer(wav: np.ndarray, step: int, id: str) -> np.ndarray:
        return wav * 0.5

    train = {"student": SoundView(8_000), "strong": SoundView(8_000, softer), "teacher": PairView(pair)}
    data = module_of(media, train, {"teacher": PairView(pair)}, tmp_path, crop_s=1.5, val_crop_s=0.4)
    batch = data.collate([data.train_set[0, i] for i in (0, 9)])
    assert batch["student"]["wav"].shape == (2, 12_000)
    assert batch["student"]["lengths"].tolist() == [8_000, 8_000]
    assert torch.equal(batch["strong"]["wav"], 0.5 * batch["student"]["wav"])
    assert batch["teacher"]["windows"].tolist() == [1, 1]
    one = data.collate([data.train_set[0, 9]])
    with torch.no_grad():
        both, alone = pair.embed_media(batch["teacher"]), pair.embed_media(one["teacher"])
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)
    assert data.dev_set[0, 1]["id"] == media.items[1].id


def test_a_lit_hears_clips_of_unlike_length(readers: Path, tmp_path: Path) -> None:
    """Waveforms themselves: what a batch pads them to does not count."""
    pair = load_pair(str(save_pair("lit_audio", tmp_path / "lit")))
    media = open_media(readers / "train")
    first = media.utterances[media.items[0].id]
    shorter = media.utterances | {first.id: first.with_(end_s=first.start_s + 0.5, duration_s=0.5)}
    media = MediaSet("audio", media.items, media.classes, media.path, shorter)
    view = {"teacher": PairView(pair)}
    data = module_of(media, view, view, tmp_path, crop_s=1.0)
    batch = data.collate([data.train_set[0, 0], data.train_set[0, 9]])
    assert batch["teacher"]["lengths"].tolist() == [8_000, 16_000]
    assert batch["teacher"]["wav"].shape == (2, 16_000)
    with torch.no_grad():
        both = pair.embed_media(batch["teacher"])
        alone = pair.embed_media(data.collate([data.train_set[0, 0]])["teacher"])
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-4)
