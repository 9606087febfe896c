"""Scores of pixels by hand: micro and per image apart, heights that share a picture, and the stage from a store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_buildings import save_tiles, tile

from audiokd.data.buildings import STRATA, Building, Tile, read_buildings, write_buildings
from audiokd.data.items import read_items
from audiokd.data.masks import load_mask
from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.segments import Counts, PictureCounts, count_picture, score_pictures, strata_of
from audiokd.stages.segments import segments
from audiokd.tokens.store import StoreItem, StoreWriter


def test_micro_and_per_image_by_hand() -> None:
    pictures = [
        PictureCounts("large", Counts(90, 10, 10), 200),
        PictureCounts("small", Counts(1, 3, 1), 200),
        PictureCounts("missed", Counts(0, 0, 10), 200),
        PictureCounts("invented", Counts(0, 5, 0), 200),
        PictureCounts("nothing", Counts(0, 0, 0), 200),
    ]
    found = score_pictures(pictures)
    micro = {k: v["mean"] for k, v in found["micro"].items()}
    assert micro == pytest.approx({"iou": 91 / 130, "f1": 182 / 221, "precision": 91 / 109, "recall": 91 / 112})
    each = {k: v["mean"] for k, v in found["per_image"].items()}
    assert each == pytest.approx(
        {
            "iou": (90 / 110 + 1 / 5) / 4,
            "f1": (180 / 200 + 2 / 6) / 4,
            "precision": (0.9 + 0.25) / 4,
            "recall": (0.9 + 0.5) / 4,
        }
    )
    assert all((v["n"], v["none"]) == (4, 1) for v in found["per_image"].values())
    assert found["micro"]["iou"]["low"] < micro["iou"] < found["micro"]["iou"]["high"]
    assert "by_height" not in found


def rectangle(left: float, top: float, right: float, bottom: float) -> tuple[tuple[float, float], ...]:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def test_every_pixel_is_of_the_nearest_building() -> None:
    low, tower = Building(rectangle(0, 0, 4, 8), 5.0), Building(rectangle(12, 0, 16, 8), 150.0, (-4.0, 0.0))
    place = strata_of(Tile("t", (low, tower)), (8, 16))
    names = np.array(list(STRATA))[place]
    assert set(names[:, :6].flatten()) == {"low"}  # half-way between the house and the tower's roof, which begins at 8
    assert set(names[:, 6:].flatten()) == {"skyscraper"}
    mask = np.zeros((8, 16), bool)
    mask[:, :4] = mask[:, 8:12] = True
    said = np.zeros((8, 16), bool)
    said[:, 2:9] = True
    counts = count_picture("t", said, mask, Tile("t", (low, tower), 0.3))
    assert counts.strata == {"low": Counts(16, 16, 16), "skyscraper": Counts(8, 16, 24)}
    assert counts.whole == Counts(24, 32, 40)  # which they add up to
    found = score_pictures([counts])
    assert found["by_height"]["low"]["micro"]["iou"]["mean"] == pytest.approx(16 / 48)
    assert found["by_gsd"]["0.3 m"]["pictures"] == 1
    assert strata_of(Tile("t", (Building(rectangle(0, 0, 4, 8)),)), (8, 16)).max() == -1
    assert (strata_of(Tile("t", (Building(rectangle(50, 50, 60, 60), 20.0),)), (8, 16)) == 1).all()


def test_a_domain_is_the_stratum_of_a_picture_without_buildings() -> None:
    mask = np.eye(4, dtype=bool)
    assert count_picture("t", mask, mask, None, "high").strata == {"high": Counts(4, 0, 0)}
    assert count_picture("t", mask, mask, Tile("t", ()), "aerial").strata == {}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_tiles(tmp_path / "data", 12)


def write_store(path: Path, data: Path, scale: float = 1.0, **meta: object) -> str:
    """Logits that are right but for the first row of pixels, where each is a building."""
    out = StoreWriter(path, "features", {"layer": "logits", "media": "image", **meta})
    rows = []
    for item in read_items(data):
        logits = np.where(load_mask(item), scale, -scale).astype(np.float32)
        logits[0] = scale
        rows.append(StoreItem(item.id, logits, 0, 1))
    out.write_shard("00000", rows)
    out.finish(["00000"])
    return str(path)


def test_the_stage(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = segments(write_store(tmp_path / "store", data), str(data), str(tmp_path / "x.json"), "right but for a row")
    assert json.loads((tmp_path / "x.json").read_text()) == json.loads(json.dumps(found))
    true = [load_mask(i) for i in read_items(data)]
    hits, more = sum(int(m.sum()) for m in true), sum(int((~m[0]).sum()) for m in true)
    assert found["micro"]["recall"]["mean"] == 1.0
    assert found["micro"]["precision"]["mean"] == pytest.approx(hits / (hits + more))
    pixels = 12 * 32 * 32
    assert found["chance"] == pytest.approx(2 * hits / (hits + pixels))
    assert set(found["by_gsd"]) == {"0.5 m", "1 m"}
    assert set() < set(found["by_height"]) <= set(STRATA)
    assert sum(of["pictures"] for of in found["by_gsd"].values()) == 12
    text = (tmp_path / "x.md").read_text()
    assert text.splitlines()[0] == "right but for a row"
    assert "| all | 12 |" in text
    assert "skyscraper from 100 m" in text
    assert capsys.readouterr().out == text
    out = segments(write_store(tmp_path / "prob", data, 1.0, layer="probability"), str(data), str(tmp_path / "y.json"))
    assert out["micro"] == found["micro"]


def test_strata_add_up(data: Path, tmp_path: Path) -> None:
    """Of pictures that have a building; those without one are of no stratum."""
    tiles = read_buildings(data)
    assert len(tiles["tile0-000"].buildings) == len(tile(0, 0).buildings)
    said = np.random.default_rng(0).random((32, 32)) < 0.3
    for item in read_items(data):
        counts = count_picture(item.id, said, load_mask(item), tiles[item.id], item.domain)
        if tiles[item.id].buildings:
            assert counts.whole == Counts(*(sum(c[k] for c in counts.strata.values()) for k in range(3)))


def test_what_is_refused(data: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", data)
    with pytest.raises(ConfigError, match="out is the JSON file"):
        segments(store, str(data), "x.md")
    with pytest.raises(ConfigError, match="a threshold of 1"):
        segments(store, str(data), "x.json", threshold=1.0)
    with pytest.raises(AudiokdError, match="a store of embedding, not of pixels"):
        segments(write_store(tmp_path / "other", data, layer="embedding"), str(data), str(tmp_path / "x.json"))
    other = save_tiles(tmp_path / "more", 2, seed=9)
    with pytest.raises(AudiokdError, match="none of its 12 pictures is there"):
        segments(store, str(other), str(tmp_path / "x.json"))
    write_buildings(data, [Tile("tile0-000", ())])
    assert "by_gsd" not in segments(store, str(data), str(tmp_path / "x.json"))
