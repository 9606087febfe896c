"""`extract` of a model of pixels: a picture's rows as frames, the same in any batch, and `segments` of that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_buildings import save_tiles

from audiokd.data.images import load_image
from audiokd.data.items import read_items, write_items
from audiokd.errors import AudiokdError
from audiokd.hub.auto import load_model
from audiokd.methods.building_sda.model import new_model
from audiokd.stages.extract import extract
from audiokd.stages.segments import segments
from audiokd.tokens.store import open_store


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    new_model("unet", "test_efficientnet", "", (32, 32)).eval().save_pretrained(folder)
    return str(folder)


def test_rows_of_pixels(model_dir: str, tmp_path: Path) -> None:
    data = save_tiles(tmp_path / "data", 5)
    items = read_items(data)
    with Image.open(items[2].path) as image:  # one that is lower than the others, and divided by no stride
        image.crop((0, 0, 32, 21)).save(items[2].path)
    with Image.open(items[2].mask or "") as mask:
        mask.crop((0, 0, 32, 21)).save(items[2].mask or "")
    alone, together = str(tmp_path / "alone"), str(tmp_path / "together")
    extract(model_dir, str(data), alone)
    extract(model_dir, str(data), together, layer="logits", batch_size=4)
    extract(model_dir, str(data), str(tmp_path / "probability"), layer="probability", dtype="float16")
    one, four, third = (open_store(s) for s in (alone, together, str(tmp_path / "probability")))
    assert (one.meta["layer"], one.meta["media"], "labels" in one.meta) == ("logits", "image", False)
    model = load_model(model_dir)
    for item in items:
        expected = model(model.view(load_image(item))[None])[0].numpy()
        assert expected.shape == (21 if item is items[2] else 32, 32)
        assert np.allclose(one[item.id].array, expected, atol=1e-5)
        assert np.allclose(four[item.id].array, expected, atol=1e-4)
        assert np.allclose(third[item.id].array, 1 / (1 + np.exp(-expected)), atol=1e-3)
    found = segments(alone, str(data), str(tmp_path / "x.json"))
    assert (found["rows"], found["micro"]) == (5, segments(together, str(data), str(tmp_path / "y.json"))["micro"])


def test_pictures_of_several_widths_are_refused(model_dir: str, tmp_path: Path) -> None:
    data = save_tiles(tmp_path / "data", 2)
    items = read_items(data)
    Image.new("RGB", (40, 32)).save(tmp_path / "wide.png")
    write_items(data, [items[0], items[1].with_(path=str(tmp_path / "wide.png"))])
    with pytest.raises(AudiokdError, match="features differ in width"):
        extract(model_dir, str(data), str(tmp_path / "store"))
