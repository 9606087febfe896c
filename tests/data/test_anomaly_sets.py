"""Layouts of published sets of defects, masks that are none, tiles and their stitching."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_textures import write_mvtec

from audiokd.data.anomaly_sets import aitex_set, mvtec_set, tilda_set
from audiokd.data.image_sets import write_image_set
from audiokd.data.items import Item, read_items
from audiokd.data.masks import at_size, load_mask
from audiokd.data.media import open_media
from audiokd.data.tiles import places, read_tiles, resized, stitch, write_tiles
from audiokd.errors import AudiokdError
from audiokd.stages.validate import validate


@pytest.fixture
def mvtec(coffee: Path, tmp_path: Path) -> Path:
    for category in ("leather", "tile"):
        write_mvtec(tmp_path / "mvtec", coffee, category, 4, 2)
    return tmp_path / "mvtec"


def test_mvtec(mvtec: Path, tmp_path: Path) -> None:
    images = mvtec_set(mvtec)
    write_image_set(tmp_path / "data", images)
    media = open_media(tmp_path / "data" / "test")
    assert media.domains() == ("leather", "tile")
    assert list(media.classes) == ["good", "spot"]
    assert {i.label for i in images.splits["train"]} == {"good"}
    for item in media.items:
        assert (item.mask is None) == (item.label == "good")
        if item.mask:
            assert load_mask(item).sum() == 100
    assert [i.id for i in mvtec_set(mvtec, ["tile"]).splits["train"]] == [f"tile/train/good/{k:03d}" for k in range(4)]


def test_a_set_without_masks(mvtec: Path) -> None:
    """The industrial textile set."""
    for category in ("leather", "tile"):
        shutil.rmtree(mvtec / category / "ground_truth")
        (mvtec / category / "test" / "spot").rename(mvtec / category / "test" / "anomaly")
    items = mvtec_set(mvtec).splits["test"]
    assert {i.label for i in items} == {"good", "anomaly"}
    assert not any(i.mask for i in items)


def test_mvtec_that_is_not_whole(mvtec: Path) -> None:
    def refused(said: str) -> None:
        with pytest.raises(AudiokdError, match=said):
            mvtec_set(mvtec)

    truth = mvtec / "tile" / "ground_truth" / "spot"
    (truth / "001_mask.png").rename(truth / "009_mask.png")
    refused(r"ground_truth/spot: no mask of 001.png\n.*<name>_mask.png")
    shutil.copy(truth / "009_mask.png", truth / "001_mask.png")
    refused("masks of no picture: 009_mask")
    (truth / "009_mask.png").unlink()
    mvtec_set(mvtec)
    (mvtec / "tile" / "test" / "hole").mkdir()
    refused("tile/test/hole: no picture in it")
    (mvtec / "tile" / "test" / "hole").rename(mvtec / "tile" / "train" / "hole")
    refused(r"train holds hole beside good\n.*move them to test")
    shutil.rmtree(mvtec / "tile" / "train" / "good")
    refused("no normal picture to learn from: train holds hole")
    shutil.rmtree(mvtec / "tile" / "train")
    refused("tile: no folder train")
    with pytest.raises(AudiokdError, match=r"no category wood\n.*leather, tile"):
        mvtec_set(mvtec, ["wood"])


def save(path: Path, x: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(x).save(path)
    return str(path)


def test_aitex(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grey = np.full((32, 128), 90, np.uint8)
    for fabric in ("00", "01"):
        for k in range(4):
            save(tmp_path / "NODefect_images" / f"fabric{fabric}" / f"{k:04d}_000_{fabric}.png", grey + k)
    save(tmp_path / "Defect_images" / "0010_006_00.png", grey)
    mask = np.zeros((32, 128), np.uint8)
    mask[4:8, 60:70] = 255
    save(tmp_path / "Mask_images" / "0010_006_00_mask.png", mask)
    images = aitex_set(tmp_path, tmp_path / "data")
    assert {k: len(v) for k, v in images.splits.items()} == {"train": 6, "test": 3}
    bad = next(i for i in images.splits["test"] if i.label != "good")
    assert (bad.label, bad.domain) == ("d006", "fabric00")
    assert load_mask(bad).sum() == 40
    # what the published set has: two masks of one picture, one without a mask, one whose mask is black, a code of two digits
    other = np.zeros((32, 128), np.uint8)
    other[20:22, 5:9] = 255
    for name, masks in (("0044_019_00", {"1": mask, "2": other}), ("0106_010_01", {}), ("0106_010_03", {"": mask * 0})):
        save(tmp_path / "Defect_images" / f"{name}.png", grey)
        for number, x in masks.items():
            save(tmp_path / "Mask_images" / f"{name}_mask{number}.png", x)
    save(tmp_path / "NODefect_images" / "fabric01" / "0018_00_01.png", grey + 9)
    with pytest.raises(AudiokdError, match=r"0106_010_01\.png: no mask in Mask_images"):
        aitex_set(tmp_path, tmp_path / "data")
    (tmp_path / "Defect_images" / "0106_010_01.png").rename(tmp_path / "Defect_images" / "0100_025_08.png")
    images = aitex_set(tmp_path, tmp_path / "data")
    assert "0100_025_08, 0106_010_03 left out" in caplog.text
    assert sum(len(v) for v in images.splits.values()) == 8 + 1 + 2
    joined = load_mask(next(i for i in images.splits["test"] if i.label == "d019"))
    assert np.array_equal(joined, (mask > 0) | (other > 0))
    assert not (tmp_path / "data" / "masks" / "0010_006_00.png").exists()  # its one mask is as it is
    save(tmp_path / "Mask_images" / "0044_019_00_mask2.png", other[:, :64])
    with pytest.raises(AudiokdError, match="masks of several sizes"):
        aitex_set(tmp_path, tmp_path / "data")
    save(tmp_path / "Defect_images" / "odd.png", grey)
    with pytest.raises(AudiokdError, match="no name of AITEX's"):
        aitex_set(tmp_path, tmp_path / "data")


def test_tilda(tmp_path: Path) -> None:
    for error in range(3):
        for n in range(4):
            save(
                tmp_path / "c1" / "r1" / f"e{error}" / f"c1r1e{error}n{n}.png",
                np.full((8, 8), 50 * error + n, np.uint8),
            )
    images = tilda_set(tmp_path)
    assert {k: len(v) for k, v in images.splits.items()} == {"train": 3, "test": 9}
    assert list(images.classes) == ["good", "e1", "e2"]
    assert {i.domain for i in images.splits["test"]} == {"c1r1"}
    for n in (1, 50):
        save(tmp_path / "flat" / f"C1R3E0N{n}.TIF", np.zeros((8, 8), np.uint8))
    assert "c1r3" in {i.domain for i in tilda_set(tmp_path).splits["train"]}
    save(tmp_path / "none" / "x.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(AudiokdError, match="no picture of TILDA's names"):
        tilda_set(tmp_path / "none")


def test_validate_looks_at_masks(mvtec: Path, tmp_path: Path) -> None:
    write_image_set(tmp_path / "data", mvtec_set(mvtec))
    data = str(tmp_path / "data" / "test")
    assert validate(data)["images"] == []
    path = mvtec / "tile" / "ground_truth" / "spot" / "000_mask.png"
    save(path, np.full((64, 64), 40, np.uint8))
    report = validate(data, max_error_rate=0.2)
    assert [r["id"] for r in report["images"]] == ["tile/test/spot/000"]
    assert report["images"][0]["what"] == f"a mask with the values 40 ({path})"


def test_a_mask_at_a_maps_size() -> None:
    mask = np.zeros((8, 8), bool)
    mask[2:6, 4:8] = True
    assert np.array_equal(at_size(mask, (4, 4)), mask[::2, ::2])
    assert np.array_equal(at_size(mask, (16, 16)), mask.repeat(2, 0).repeat(2, 1))
    thin = np.zeros((9, 9), bool)
    thin[0, 0] = True
    assert at_size(thin, (3, 3)).sum() == 1  # its cell is kept


def test_tiles_and_back(coffee: Path, tmp_path: Path) -> None:
    with Image.open(coffee) as image:
        x = np.asarray(image.convert("RGB"))[:80, :112]
    mask = np.zeros((80, 112), np.uint8)
    mask[60:66, 90:99] = 255
    source = Item("big", save(tmp_path / "big.png", x), "hole", "cloth", mask=save(tmp_path / "m.png", mask))
    tiles = write_tiles([source], tmp_path / "data", 32, 16)
    assert len(tiles) == 4 * 6
    read = {i.id: i for i in read_items(tmp_path / "data")}
    of = read_tiles(tmp_path / "data")
    assert read.keys() == of.keys()
    assert {i.source for i in read.values()} == {"big"}
    maps = {}
    for name, tile in of.items():
        with Image.open(read[name].path) as image:
            part = np.asarray(image)
        assert np.array_equal(part, x[tile.top : tile.top + 32, tile.left : tile.left + 32])
        seen = mask[tile.top : tile.top + 32, tile.left : tile.left + 32].any()
        assert (read[name].label, read[name].mask is not None) == ("hole" if seen else "good", seen)
        maps[name] = part[..., 0].astype(float)
    np.testing.assert_allclose(stitch(maps, list(of.values())), x[..., 0], atol=1e-4)
    half = {k: v.reshape(16, 2, 16, 2).mean((1, 3)) for k, v in maps.items()}
    assert stitch(half, list(of.values())).shape == (80, 112)
    lost = dict(maps)
    lost.pop("big@0.0")
    with pytest.raises(AudiokdError, match=r"no map of the tile big@0.0"):
        stitch(lost, list(of.values()))
    assert places(100, 64, 32) == [0, 32, 36]
    for size, step, said in ((64, 65, "a step of 65"), (200, 1, "tiles of 200 pixels, a picture of 100")):
        with pytest.raises(AudiokdError, match=said):
            places(100, size, step)
    with pytest.raises(AudiokdError, match=r"no tiles.jsonl"):
        read_tiles(tmp_path)
    grid = np.arange(12.0).reshape(3, 4)
    np.testing.assert_allclose(resized(grid, 6, 8)[1::2, 1::2][:2, :3], grid[:2, :3] + 1.25 + 0.0, atol=1e-9)
