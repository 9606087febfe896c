"""Buildings: their file, their outlines as pixels, labels that are shifted by height, published layouts, GeoTIFFs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audiokd.data.building_sets import bonai_split, massachusetts_split, whu_split, write_masked_set
from audiokd.data.buildings import Building, Tile, draw, read_buildings, stratum, write_buildings
from audiokd.data.items import read_items
from audiokd.data.label_shift import LabelShift
from audiokd.data.masks import load_mask
from audiokd.errors import AudiokdError

SQUARE = ((2.0, 3.0), (7.0, 3.0), (7.0, 9.0), (2.0, 9.0))


def test_outlines_cover_the_pixels_whose_centres_they_hold() -> None:
    mask = draw([SQUARE], (12, 10))
    expected = np.zeros((12, 10), int)
    expected[3:9, 2:7] = 1
    assert np.array_equal(mask, expected)
    two = draw([SQUARE, ((6, 0), (20, 0), (20, 5), (6, 5))], (12, 10))
    assert two[4, 6] == 2  # the later one is above
    assert two[4, 5] == 1
    assert two[0, 9] == 2  # cut off at the edge


def test_strata() -> None:
    heights = {
        None: None,
        0: "low",
        11.9: "low",
        12: "mid",
        34.9: "mid",
        35: "high",
        100: "skyscraper",
        600: "skyscraper",
    }
    assert {h: stratum(h) for h in heights} == heights


def test_the_file(tmp_path: Path) -> None:
    tiles = [Tile("b", (Building(SQUARE, 12.5, (3.0, -1.0)), Building(SQUARE)), 0.5), Tile("a", ())]
    write_buildings(tmp_path, tiles)
    assert read_buildings(tmp_path) == {t.id: t for t in tiles}
    assert read_buildings(tmp_path / "nowhere") == {}
    assert tiles[0].buildings[0].roof == ((5.0, 2.0), (10.0, 2.0), (10.0, 8.0), (5.0, 8.0))
    for line, said in (
        ('{"id": "a"}', "buildings.jsonl:1: not the buildings of a tile: KeyError 'buildings'"),
        ("{}{", "not the buildings"),
        ('{"id": "a", "buildings": [{"footprint": [[1, 2], [3, 4]]}]}', "2 corners are no outline"),
        ('{"id": "a", "buildings": [{"footprint": [[1, 2], [3, 4], [5, 6]], "height_m": -1}]}', "height_m is -1"),
        ('{"id": "a", "buildings": [], "gsd_m": 0}', "gsd_m is 0"),
        ('{"id": "a", "buildings": []}\n{"id": "a", "buildings": []}', "a stands there before"),
    ):
        (tmp_path / "buildings.jsonl").write_text(line + "\n")
        with pytest.raises(AudiokdError, match=said):
            read_buildings(tmp_path)


def test_labels_are_shifted_by_height_and_angle() -> None:
    tile = Tile("t", (Building(SQUARE, 0.0), Building(SQUARE, 10.0), Building(SQUARE, 20.0)), 0.5)
    angle = math.degrees(math.atan(0.25))
    right = LabelShift(angle).lean(tile)
    assert np.allclose(right, [(0, 0), (5, 0), (10, 0)])  # 10 m * 0.25 / 0.5 m
    assert np.allclose(LabelShift(angle, 90.0).lean(tile), [(0, 0), (0, 5), (0, 10)])  # y goes down
    assert np.allclose(LabelShift(angle, 90.0, gsd_m=2.0).lean(Tile("t", tile.buildings[1:2])), [(0, 1.25)])
    one = Tile("t", tile.buildings[1:2], 0.5)
    mask = LabelShift(angle).noisy_mask(one, (12, 14))
    clean = draw([SQUARE], (12, 14)) > 0
    assert np.array_equal(mask[:, 5:], clean[:, :-5])
    assert not mask[:, :5].any()
    assert LabelShift(0.0).noisy_mask(one, (12, 14)).tolist() == clean.tolist()
    (shifted,) = LabelShift(angle).shifted(one).buildings
    assert shifted.offset == pytest.approx((5, 0))


def test_what_is_drawn_is_of_the_tile_alone() -> None:
    tiles = [Tile(i, (Building(SQUARE, 10.0), Building(SQUARE, 10.0)), 0.5) for i in "ab"]
    shift = LabelShift(20.0, None, jitter_px=1.0, seed=3)
    assert shift.lean(tiles[0]) == shift.lean(tiles[0])
    assert not np.allclose(shift.lean(tiles[0]), shift.lean(tiles[1]))
    assert not np.allclose(*LabelShift(20.0, None, jitter_px=1.0).lean(tiles[0]))
    same = LabelShift(20.0, None).lean(tiles[0])
    assert np.allclose(*same)  # one view a tile
    assert math.hypot(*same[0]) == pytest.approx(10 * math.tan(math.radians(20)) / 0.5)


def test_what_cannot_be_shifted() -> None:
    with pytest.raises(AudiokdError, match="an angle of 90"):
        LabelShift(90.0)
    with pytest.raises(AudiokdError, match="t: its ground sampling distance"):
        LabelShift(10.0).lean(Tile("t", (Building(SQUARE, 1.0),)))
    with pytest.raises(AudiokdError, match="without a height"):
        LabelShift(10.0).lean(Tile("t", (Building(SQUARE),), 1.0))


def picture(path: Path, mask: bool = False, size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if mask else "RGB", size).save(path)


def test_whu(tmp_path: Path) -> None:
    for name in ("2", "10"):
        picture(tmp_path / "val" / "image" / f"{name}.tif")
        picture(tmp_path / "val" / "label" / f"{name}.tif", mask=True)
    found = whu_split(tmp_path, "val")
    assert [i.id for i in found.items] == ["10", "2"]
    assert load_mask(found.items[0], (10, 12)).shape == (10, 12)
    write_masked_set(tmp_path / "out", found)
    assert [i.mask for i in read_items(tmp_path / "out")] == [i.mask for i in found.items]
    (tmp_path / "val" / "label" / "2.tif").unlink()
    with pytest.raises(AudiokdError, match="1 pictures or masks stand alone: 2"):
        whu_split(tmp_path, "val")
    with pytest.raises(AudiokdError, match="no such folder"):
        whu_split(tmp_path, "train")


def test_massachusetts(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "test" / "1_15.tiff")
    colours = np.zeros((10, 12, 3), np.uint8)
    colours[2:5, 3:6, 0] = 255
    (tmp_path / "set" / "test_labels").mkdir()
    Image.fromarray(colours).save(tmp_path / "set" / "test_labels" / "1_15.tif")
    (item,) = massachusetts_split(tmp_path / "set", "test", tmp_path / "out").items
    assert np.array_equal(load_mask(item, (10, 12)), colours[..., 0] > 0)


def bonai(root: Path) -> Path:
    """One picture: a roof that leans by (2, 1) of 13 m, a building of which the footprint alone is known, and a crowd."""
    picture(root / "images" / "a_b.png")
    flat = [c for corner in SQUARE for c in corner]
    roof = [c + (2, 1)[k % 2] for k, c in enumerate(flat)]
    small = [9, 0, 11, 0, 11, 2, 9, 2]
    common = {"image_id": 7, "category_id": 1}
    annotations = [
        {"id": 1, **common, "segmentation": [roof], "footprint_mask": flat, "offset": [2, 1], "building_height": 13.0},
        {"id": 2, **common, "segmentation": [[]], "footprint_mask": small, "only_footprint": 1},
        {"id": 3, **common, "iscrowd": 1},
    ]
    images = [{"id": 7, "file_name": "a_b.png", "width": 12, "height": 10}]
    (root / "bonai.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return root / "bonai.json"


def test_bonai(tmp_path: Path) -> None:
    file = bonai(tmp_path)
    for target, top, left in (("roof", 4, 4), ("footprint", 3, 2)):
        found = bonai_split(file, tmp_path / "images", tmp_path / target, target)  # type: ignore[arg-type]
        (item,) = found.items
        expected = np.zeros((10, 12), bool)
        expected[top : top + 6, left : left + 5] = True
        expected[0:2, 9:11] = True
        assert np.array_equal(load_mask(item, (10, 12)), expected)
        assert item.domain == "mid"
        (tile,) = found.tiles
        assert (tile.id, tile.gsd_m) == (item.id, 0.6)
        assert [(b.height_m, b.offset) for b in tile.buildings] == [(13.0, (2, 1)), (None, None)]
    write_masked_set(tmp_path / "out", found)
    assert list(read_buildings(tmp_path / "out")) == [item.id]


def test_what_bonai_lacks(tmp_path: Path) -> None:
    file = bonai(tmp_path)
    tree = json.loads(file.read_text())
    del tree["annotations"][0]["footprint_mask"]
    file.write_text(json.dumps(tree))
    with pytest.raises(AudiokdError, match=r"annotation 1 of a_b\.png: KeyError 'footprint_mask'"):
        bonai_split(file, tmp_path / "images", tmp_path / "out")
    with pytest.raises(AudiokdError, match="no such picture"):
        bonai_split(bonai(tmp_path), tmp_path, tmp_path / "out")
    file.write_text("[]")
    with pytest.raises(AudiokdError, match="no COCO-style annotations"):
        bonai_split(file, tmp_path / "images", tmp_path / "out")
    with pytest.raises(AudiokdError, match="no such file"):
        bonai_split(tmp_path / "none.json", tmp_path / "images", tmp_path / "out")


def test_geotiffs_are_cut_by_windows(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio.transform import from_origin

    from audiokd.data.geotiff import gsd_of, tile_geotiff

    rng = np.random.default_rng(0)
    rgb, mask = rng.integers(0, 256, (3, 40, 50), dtype=np.uint8), rng.integers(0, 2, (1, 40, 50), dtype=np.uint8)
    about = {
        "driver": "GTiff",
        "height": 40,
        "width": 50,
        "dtype": "uint8",
        "transform": from_origin(5e5, 4e6, 0.3, 0.3),
    }
    for name, values in (("city", rgb), ("mask", mask)):
        with rasterio.open(tmp_path / f"{name}.tif", "w", count=len(values), crs="EPSG:32617", **about) as f:
            f.write(values)
    items = tile_geotiff(tmp_path / "city.tif", tmp_path / "mask.tif", tmp_path / "out", 20)
    places = [(0, 0), (0, 20), (0, 30), (20, 0), (20, 20), (20, 30)]  # the last column ends with the raster
    assert [i.id for i in items] == [f"city_{t:06d}_{x:06d}" for t, x in places]
    for item, (top, left) in zip(items, places):
        rows, columns = slice(top, top + 20), slice(left, left + 20)
        assert np.array_equal(np.moveaxis(np.asarray(Image.open(item.path)), -1, 0), rgb[:, rows, columns])
        assert np.array_equal(load_mask(item, (20, 20)), mask[0, rows, columns] > 0)
        assert item.source == "city"
    assert gsd_of(tmp_path / "city.tif") == pytest.approx(0.3)
    for bad, size, said in (("mask.tif", 20, "1 bands of uint8"), ("city.tif", 41, "are no tile of 41")):
        with pytest.raises(AudiokdError, match=said):
            tile_geotiff(tmp_path / bad, None, tmp_path / "out", size)
    with pytest.raises(AudiokdError, match="3 bands on a grid"):
        tile_geotiff(tmp_path / "city.tif", tmp_path / "city.tif", tmp_path / "out", 20)
    (tmp_path / "no.tif").write_bytes(b"x")
    with pytest.raises(AudiokdError, match="no raster"):
        gsd_of(tmp_path / "no.tif")
