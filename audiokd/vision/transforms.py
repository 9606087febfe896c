"""Pictures to a backbone's input: as its weights were trained to see them, and the random views that the papers train on.

A random view is a function of (seed, step, id): the same picture in any batch, worker or order. What is drawn does not depend
on mean and std, nor the crop of `crop`, `domainbed`, `unflipped` and `strong` on the size: one key shows two models the same
part of a picture.

    crop       PromptKD (arXiv 2403.02781; CoOp's scale): random-resized-crop of 0.08 to 1 of the area, flip
    domainbed  VL2V-ADiP (arXiv 2310.08255; DomainBed): crop of 0.7 to 1, flip, colour jitter 0.3 (all four), greyscale in 0.1
    unflipped  the same without the flip, for digits and letters
    weak       S3A (arXiv 2308.12960), of the EMA teacher: the shorter side resized, a random crop along the longer one
    strong     S3A, of the student: crop of 0.3 to 1, flip, RandAugment rand-m9-mstd0.5-inc1, in timm's order
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from audiokd.data.crops import rng_of
from audiokd.errors import AudiokdError

if TYPE_CHECKING:
    from PIL.Image import Image

RAND_AUGMENT = "rand-m9-mstd0.5-inc1"
MAGNITUDE_MAX = 9.99  # at timm's own 10, which two draws in a hundred reach, posterize keeps no bit: Pillow 13 refuses
_GLOBAL = threading.Lock()


@dataclass(frozen=True)
class Preprocess:
    """What a model's weights were trained to see; the names and values are timm's (`pretrained_cfg`).

    Attributes:
        size: height and width, pixels.
        mean, std: of each channel, of values in [0, 1].
        interpolation: "bicubic", "bilinear" and so on.
        crop: share of the resized picture's side that the centre crop keeps.
        crop_mode: "center" resizes the shorter side, "squash" both sides, "border" the longer side and pads; "floor" is ours:
            "center" of which the crop's corner is rounded down, as transformers does it (torchvision's rounds half to even).
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop: float = 0.875
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std"):  # a config.json gives lists, which cannot be hashed
            object.__setattr__(self, name, tuple(getattr(self, name)))


def preprocess_of(processor: Any) -> Preprocess:
    """What an image processor of transformers (CLIP's, SigLIP's, ViT's, BiT's) does, as `plain_view` does it.

    Raises:
        AudiokdError: it does something that `plain_view` does not: pictures come out in several sizes, a crop that is not square
            or larger than what it is cut from, samples that are not divided by 255.
    """
    size, crop = (
        {k: v for k, v in dict(getattr(processor, n, None) or {}).items() if v} for n in ("size", "crop_size")
    )
    scale = getattr(processor, "rescale_factor", 1 / 255)
    if not getattr(processor, "do_center_crop", False):
        crop = {}
    sides = [size["shortest_edge"]] * 2 if "shortest_edge" in size else [size.get("height"), size.get("width")]
    cut = (
        [crop.get("height", crop.get("shortest_edge")), crop.get("width", crop.get("shortest_edge"))] if crop else sides
    )
    unlike = [
        not processor.do_resize and "no resizing",
        not processor.do_rescale and "no rescaling",
        abs(scale * 255 - 1) > 1e-6 and f"rescaling by {scale:g}",
        None in (*sides, *cut) and f"size {size}, crop {crop}",
        "longest_edge" in size and "a longest edge",
        "shortest_edge" in size and not crop and "pictures of any shape",
        bool(crop) and len({*sides}) + len({*cut}) > 2 and "a crop that is not square",
    ]
    what = ", ".join(u for u in unlike if u)
    if not what and cut[0] > sides[0]:
        what = f"a crop of {cut[0]} from {sides[0]} pixels"
    if not what and "height" in size and (sides[0] - cut[0]) % 2:
        what = "an odd crop"  # timm's is rounded the other way
    if what:
        raise AudiokdError(f"{type(processor).__name__}: {what} cannot be done here", fix="resize, centre crop, 1/255")
    kept = cut[0] / sides[0]
    if int(cut[0] / kept) < sides[0]:  # timm divides again, and rounds down
        kept = math.nextafter(kept, 0)
    from PIL.Image import Resampling

    normalised = processor.do_normalize
    return Preprocess(
        (cut[0], cut[1]),
        processor.image_mean if normalised else (0.0,) * 3,
        processor.image_std if normalised else (1.0,) * 3,
        Resampling(int(processor.resample)).name.lower(),
        kept,
        "floor" if "shortest_edge" in size else "squash",
    )


def plain_view(image: Image, preprocess: Preprocess) -> Tensor:
    """The picture as the model is tested on it: resized, its centre, normalised.

    Args:
        image: RGB.

    Returns:
        float32 [3, H, W].

    Raises:
        AudiokdError: the picture is not RGB.
    """
    return _plain(preprocess)(_rgb(image))


def random_view(view: str, image: Image, preprocess: Preprocess, seed: int, step: int, id: str) -> Tensor:
    """A random view, normalised.

    Args:
        view: one of `VIEWS`, as the head of this file has them.
        image: RGB.
        seed, step, id: what it is drawn from, with the view's name; `id` is the picture's.

    Returns:
        float32 [3, H, W].

    Raises:
        AudiokdError: the picture is not RGB, or there is no such view.
    """
    if view not in VIEWS:
        raise AudiokdError(f"there is no view {view}", fix=f"views are {', '.join(VIEWS)}")
    transform = _random(view, preprocess)
    with _seeded(seed, "view", view, step, id):
        return transform(_rgb(image, id))


def require_timm() -> ModuleType:
    """timm, where it is installed.

    Raises:
        AudiokdError: it is not.
    """
    try:
        import timm
    except ImportError as e:
        raise AudiokdError("image models need timm, which is not there", fix="pip install 'audiokd[vision]'") from e
    return timm


def _rgb(image: Image, where: str | None = None) -> Image:
    if image.mode != "RGB":
        fix = "convert it where it is read, by its mode: 16 bits do not fit in 8, CMYK and palettes have profiles and masks"
        raise AudiokdError(f"a picture of mode {image.mode}, not RGB", where=where, fix=fix)
    return image


@contextmanager
def _seeded(*key: object) -> Iterator[None]:
    """The generators that torchvision (PyTorch's) and timm (random's, NumPy's) draw from begin at `key`, and are put back."""
    seeds = [int(s) for s in rng_of(*key).integers(2**32, size=3)]
    with _GLOBAL:
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        try:
            random.seed(seeds[0])
            np.random.seed(seeds[1])
            torch.default_generator.manual_seed(seeds[2])  # torch.manual_seed would seed the devices too
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])


@lru_cache
def _plain(p: Preprocess) -> Callable[[Image], Tensor]:
    require_timm()  # which brings torchvision
    if p.crop_mode == "floor":
        from torchvision import transforms as T

        short = int(p.size[0] / p.crop)
        return T.Compose(
            [T.Resize(short, _mode(p)), partial(_centre, size=p.size), T.ToTensor(), T.Normalize(p.mean, p.std)]
        )
    from timm.data import create_transform

    return create_transform(
        (3, *p.size), mean=p.mean, std=p.std, interpolation=p.interpolation, crop_pct=p.crop, crop_mode=p.crop_mode
    )


def _centre(image: Image, size: tuple[int, int]) -> Image:
    left, top = (image.width - size[1]) // 2, (image.height - size[0]) // 2
    return image.crop((left, top, left + size[1], top + size[0]))


@lru_cache
def _random(view: str, p: Preprocess) -> Callable[[Image], Tensor]:
    from torchvision import transforms as T

    return T.Compose([*VIEWS[view](p), T.ToTensor(), T.Normalize(p.mean, p.std)])


def _crop_and_flip(p: Preprocess, least: float) -> list[Callable[[Image], Image]]:
    from torchvision import transforms as T

    return [T.RandomResizedCrop(p.size, (least, 1.0), interpolation=_mode(p)), T.RandomHorizontalFlip()]


def _crop(p: Preprocess) -> list[Callable[[Image], Image]]:
    return _crop_and_flip(p, 0.08)


def _domainbed(p: Preprocess) -> list[Callable[[Image], Image]]:
    from torchvision import transforms as T

    return [*_crop_and_flip(p, 0.7), T.ColorJitter(0.3, 0.3, 0.3, 0.3), T.RandomGrayscale(0.1)]


def _unflipped(p: Preprocess) -> list[Callable[[Image], Image]]:
    from torchvision import transforms as T

    return [step for step in _domainbed(p) if not isinstance(step, T.RandomHorizontalFlip)]


def _weak(p: Preprocess) -> list[Callable[[Image], Image]]:
    from torchvision import transforms as T

    return [T.Resize(max(p.size), _mode(p)), T.RandomCrop(p.size)]


def _strong(p: Preprocess) -> list[Callable[[Image], Image]]:
    require_timm()
    from timm.data import str_to_pil_interp
    from timm.data.auto_augment import rand_augment_transform

    options = {  # as timm's own training transform has them
        "translate_const": int(min(p.size) * 0.45),
        "img_mean": tuple(round(255 * m) for m in p.mean),
        "interpolation": str_to_pil_interp(p.interpolation),
        "magnitude_max": MAGNITUDE_MAX,
    }
    return [*_crop_and_flip(p, 0.3), rand_augment_transform(RAND_AUGMENT, options)]


def _mode(p: Preprocess) -> object:
    from torchvision.transforms import InterpolationMode

    return InterpolationMode(p.interpolation)


#: steps from a picture to one of the model's size, by the view's name
VIEWS: dict[str, Callable[[Preprocess], list[Callable[[Image], Image]]]] = {
    "crop": _crop,
    "domainbed": _domainbed,
    "unflipped": _unflipped,
    "weak": _weak,
    "strong": _strong,
}
