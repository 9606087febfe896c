"""Masks that are read, and those that are refused: values, channels, sizes, files that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audiokd.data.items import Item
from audiokd.data.masks import check_masks, load_mask, one_channel, write_mask
from audiokd.data.validate_images import check_image
from audiokd.errors import AudiokdError, ImageError

TRUE = np.zeros((6, 9), bool)
TRUE[1:4, 2:7] = True


def item(tmp_path: Path, image: Image.Image, name: str = "mask.png") -> Item:
    image.save(tmp_path / name)
    Image.new("RGB", (9, 6)).save(tmp_path / "picture.png")
    return Item("a", str(tmp_path / "picture.png"), mask=str(tmp_path / name))


@pytest.mark.parametrize("most", [1, 255])
@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "mask.bmp"])
def test_0_and_1_are_0_and_255(tmp_path: Path, most: int, name: str) -> None:
    found = load_mask(item(tmp_path, Image.fromarray(TRUE.astype(np.uint8) * most), name), (6, 9))
    assert found.dtype == bool
    assert np.array_equal(found, TRUE)


def test_one_bit(tmp_path: Path) -> None:
    assert np.array_equal(load_mask(item(tmp_path, Image.fromarray(TRUE))), TRUE)


def test_it_is_written_as_it_is_read(tmp_path: Path) -> None:
    write_mask(tmp_path / "x.png", TRUE)
    assert np.array_equal(load_mask(Item("a", "p", mask=str(tmp_path / "x.png"))), TRUE)
    assert sorted(set(np.asarray(Image.open(tmp_path / "x.png")).flatten().tolist())) == [0, 255]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (
            Image.fromarray(np.arange(54, dtype=np.uint8).reshape(6, 9)),
            r"mask\.png: a mask with the values 0, 1, 2, 3, 4, \.\.\.",
        ),
        (Image.fromarray((TRUE * 128).astype(np.uint8)), "the values 0, 128"),
        (Image.fromarray(np.stack([TRUE * 255] * 3, -1).astype(np.uint8)), r"a mask with 3 channels \(RGB\)"),
        (Image.fromarray(np.stack([TRUE * 255] * 4, -1).astype(np.uint8)), r"4 channels \(RGBA\)"),
        (Image.fromarray(TRUE.astype(np.uint8)).convert("P"), "a mask with a palette"),
        (Image.fromarray(TRUE[:, :8].astype(np.uint8)), "a mask of 8 x 6 pixels, the picture has 9 x 6"),
    ],
)
def test_what_is_refused(tmp_path: Path, image: Image.Image, said: str) -> None:
    bad = item(tmp_path, image)
    with pytest.raises(ImageError, match=said):
        load_mask(bad, (6, 9))
    report = check_image(bad)
    assert report.error is not None
    assert report.error.endswith(f"({bad.mask})")


def test_files(tmp_path: Path) -> None:
    good = item(tmp_path, Image.fromarray(TRUE.astype(np.uint8)))
    assert check_image(good).error is None
    with pytest.raises(ImageError, match="a has no mask"):
        load_mask(good.with_(mask=None))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(ImageError, match="no mask, or damaged"):
        load_mask(good.with_(mask=str(tmp_path / "broken.png")))
    gone = good.with_(mask=str(tmp_path / "gone.png"))
    with pytest.raises(ImageError, match="no such file"):
        load_mask(gone)
    with pytest.raises(AudiokdError, match="1 of 2 masks are not there"):
        check_masks([good, gone], "data")
    with pytest.raises(AudiokdError, match="1 of 1 items have no mask: a"):
        check_masks([good.with_(mask=None)], "data")
    check_masks([good], "data")


def test_a_mask_in_colours(tmp_path: Path) -> None:
    red = np.zeros((6, 9, 3), np.uint8)
    red[TRUE] = (255, 0, 0)
    Image.fromarray(red).save(tmp_path / "red.tif")
    assert np.array_equal(one_channel(tmp_path / "red.tif"), TRUE)
    red[0, 0] = (0, 0, 255)
    Image.fromarray(red).save(tmp_path / "two.tif")
    with pytest.raises(ImageError, match="2 colours beside black"):
        one_channel(tmp_path / "two.tif")
