"""Views of pictures: the model's own preprocessing, random views that a key alone decides, and pictures that are not RGB."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.vision.transforms import VIEWS, Preprocess, plain_view, random_view

PLAIN = Preprocess((32, 32), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")


@pytest.fixture(scope="module")
def photo(coffee: Path) -> Image.Image:
    return Image.open(coffee).convert("RGB")


@pytest.fixture(scope="module")
def slopes() -> Image.Image:
    """256 x 256: red grows to the right and green downwards, so that a view says which part it shows."""
    up = np.arange(256, dtype=np.uint8)
    return Image.fromarray(np.stack([*np.meshgrid(up, up), np.full((256, 256), 128, np.uint8)], -1))


def box(view: Tensor) -> tuple[float, float, float, float]:
    """Left, right, top and bottom in `slopes`, of 1; left is greater than right in a flipped view."""
    x, y = view[0].mean(0), view[1].mean(1)
    step_x, step_y = (x[-2] - x[1]) / (len(x) - 3) / 2, (y[-2] - y[1]) / (len(y) - 3) / 2
    return float(x[1] - 3 * step_x), float(x[-2] + 3 * step_x), float(y[1] - 3 * step_y), float(y[-2] + 3 * step_y)


def seed_all(seed: int) -> None:
    for of in (random.seed, np.random.seed, torch.manual_seed):
        of(seed)


def test_plain_view_is_resize_centre_crop_and_normalise(photo: Image.Image) -> None:
    p = Preprocess((32, 32), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic", crop=0.875)
    side = 36  # 32 / 0.875, rounded down
    small = np.asarray(photo.resize((side * 600 // 400, side), Image.Resampling.BICUBIC)) / 255
    left, top = (small.shape[1] - 32) // 2, (small.shape[0] - 32) // 2
    want = (small[top : top + 32, left : left + 32] - np.array(p.mean)) / np.array(p.std)
    got = plain_view(photo, p)
    assert (got.dtype, got.shape) == (torch.float32, (3, 32, 32))
    np.testing.assert_allclose(got.numpy(), want.transpose(2, 0, 1), atol=1e-5)
    assert (plain_view(photo, replace(p, interpolation="bilinear")) - got).abs().max() > 0.05
    squashed = np.asarray(photo.resize((32, 32), Image.Resampling.BICUBIC)) / 255
    got = plain_view(photo, replace(p, crop=1.0, crop_mode="squash"))
    np.testing.assert_allclose(got.numpy(), ((squashed - p.mean) / p.std).transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize("view", VIEWS)
def test_a_key_alone_decides_a_random_view(view: str, photo: Image.Image) -> None:
    p = replace(PLAIN, interpolation="bicubic")
    keys = [(0, 0, "a"), (1, 0, "a"), (0, 0, "b"), *((0, step, "a") for step in range(1, 20))]
    seed_all(4)
    first = [random_view(view, photo, p, *key) for key in keys]
    seed_all(5)
    again = [random_view(view, photo, p, *key) for key in reversed(keys)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert all((a - b).abs().max() > 0.05 for k, a in enumerate(first[:4]) for b in first[:k])
    assert all((v.dtype, v.shape) == (torch.float32, (3, 32, 32)) for v in first)


@pytest.mark.parametrize("view", VIEWS)
def test_the_processs_own_random_numbers_go_on_as_they_were(view: str, photo: Image.Image) -> None:
    def numbers() -> list[float]:
        return [random.random(), np.random.random(), float(torch.rand(()))]

    seed_all(3)
    want = [numbers() for _ in range(2)]
    seed_all(3)
    got = [numbers()]
    random_view(view, photo, PLAIN, 0, 0, "a")
    with pytest.raises(AudiokdError):
        random_view(view, photo.convert("L"), PLAIN, 0, 0, "a")
    got.append(numbers())
    assert got == want


def test_crops_and_flips(slopes: Image.Image) -> None:
    boxes = np.array([box(random_view("crop", slopes, PLAIN, 0, step, "a")) for step in range(400)])
    left, right, top, bottom = boxes.T
    area, ratio = np.abs(right - left) * (bottom - top), np.abs(right - left) / (bottom - top)
    assert 0.06 < area.min() < 0.11
    assert 0.95 < area.max() < 1.02
    assert 0.72 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.38
    assert abs(np.corrcoef((left + right) / 2, (top + bottom) / 2)[0, 1]) < 0.2
    assert 0.4 < (left > right).mean() < 0.6
    assert (top < bottom).all()


def test_what_the_views_are_made_of() -> None:
    crop = "RandomResizedCrop(size=(32, 32), scale=({}, 1.0), ratio=(0.75, 1.3333), interpolation=bilinear, antialias=True)"
    flip = "RandomHorizontalFlip(p=0.5)"
    jitter = "ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.3, 0.3))"
    made = {view: [str(t) for t in make(PLAIN)] for view, make in VIEWS.items()}
    assert made["crop"] == [crop.format(0.08), flip]
    assert made["domainbed"] == [crop.format(0.7), flip, jitter, "RandomGrayscale(p=0.1)"]
    assert made["unflipped"] == [t for t in made["domainbed"] if t != flip]
    assert made["strong"][:-1] == [crop.format(0.3), flip]
    assert len(made["weak"]) == 2


def test_strong_view_has_timms_rand_augment() -> None:
    from timm.data import create_transform

    p = Preprocess((32, 32), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic")
    options = {"mean": p.mean, "interpolation": "bicubic", "color_jitter": None}
    theirs = create_transform(32, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", **options).transforms[2]
    ours = VIEWS["strong"](p)[-1]
    assert (ours.num_layers, len(ours.ops)) == (theirs.num_layers, len(theirs.ops)) == (2, 15)
    for a, b in zip(ours.ops, theirs.ops):
        assert a.hparams.pop("magnitude_max") == 9.99
        assert vars(a) == vars(b) | {"magnitude_max": 9.99}


def test_strong_views_hold_for_a_long_run(photo: Image.Image) -> None:
    """An operation at its greatest is drawn once in some hundred views: timm's posterize then asks Pillow for no bit at all."""
    small = photo.resize((30, 20))
    views = torch.stack([random_view("strong", small, PLAIN, 0, step, "a") for step in range(3000)])
    assert views.isfinite().all()
    assert 0 <= views.min() < views.max() <= 1


def test_weak_view_is_the_whole_shorter_side(photo: Image.Image, slopes: Image.Image) -> None:
    wide = slopes.resize((512, 256))
    boxes = np.array([box(random_view("weak", wide, PLAIN, 0, step, "a")) for step in range(100)])
    left, right, top, bottom = boxes.T
    np.testing.assert_allclose(right - left, 0.5, atol=0.02)
    np.testing.assert_allclose(bottom - top, 1, atol=0.02)
    assert left.min() < 0.03
    assert left.max() > 0.47


@pytest.mark.parametrize("view", ["crop", "domainbed"])
def test_two_models_see_the_same_part(view: str, slopes: Image.Image) -> None:
    other = Preprocess((48, 48), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bicubic")
    for step in range(20):
        a = random_view(view, slopes, PLAIN, 0, step, "a")
        b = random_view(view, slopes, other, 0, step, "a") * 0.25 + 0.5
        small = torch.nn.functional.interpolate(b[None], (32, 32), mode="bilinear", antialias=True)[0]
        assert (a - small)[:, 2:-2, 2:-2].abs().max() < 0.03


def test_bad_input(photo: Image.Image) -> None:
    with pytest.raises(
        AudiokdError, match="there is no view string\n  views are crop, domainbed, unflipped, weak, strong"
    ):
        random_view("string", photo, PLAIN, 0, 0, "a")
    for mode in ("L", "CMYK", "P", "RGBA", "I;16"):
        image = Image.new(mode, (40, 40))
        with pytest.raises(AudiokdError, match=f"stamps/7: a picture of mode {mode}, not RGB"):
            random_view("weak", image, PLAIN, 0, 0, "stamps/7")
        with pytest.raises(AudiokdError, match=f"a picture of mode {mode}, not RGB"):
            plain_view(image, PLAIN)
    assert random_view("strong", Image.new("RGB", (1, 3)), PLAIN, 0, 0, "a").shape == (3, 32, 32)
