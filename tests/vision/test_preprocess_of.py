"""A model's pictures through its own image processor of transformers and through ours are the same."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from matplotlib.cbook import get_sample_data
from PIL import Image
from transformers import BitImageProcessor, CLIPImageProcessor, SiglipImageProcessor, ViTImageProcessor

from audiokd.errors import AudiokdError
from audiokd.vision.transforms import Preprocess, plain_view, preprocess_of

#: of the crops' and resized sides' differences, every remainder by four is among them: where torchvision rounds up, transformers
#: does not
SHAPES = [(512, 600), (300, 211), (200, 307), (97, 331), (224, 224), (225, 224), (224, 227), (40, 33)]
PROCESSORS: dict[str, Any] = {
    "clip": CLIPImageProcessor(),
    "clip-odd": CLIPImageProcessor(size={"shortest_edge": 131}, crop_size={"height": 98, "width": 98}),
    "siglip": SiglipImageProcessor(),
    "siglip-wide": SiglipImageProcessor(size={"height": 96, "width": 128}),
    "vit": ViTImageProcessor(),
    "bit": BitImageProcessor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}),
    "raw": CLIPImageProcessor(do_normalize=False, size={"shortest_edge": 64}, crop_size=64),
}


@pytest.fixture(scope="module")
def photographs(coffee: Path) -> list[Image.Image]:
    with get_sample_data("grace_hopper.jpg") as f:
        whole = Image.open(f).convert("RGB")
    return [Image.open(coffee).convert("RGB"), *(whole.crop((10, 20, 10 + w, 20 + h)) for w, h in SHAPES)]


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_same_as_the_processor(name: str, photographs: list[Image.Image]) -> None:
    """As its Pillow side gives it. The other resizes tensors, which now and then is a grey level away, hardly ever more."""
    processor = PROCESSORS[name]
    settings = {k: v for k, v in processor.to_dict().items() if not k.endswith("_type")}
    with_pillow = getattr(transformers, f"{type(processor).__name__}Pil")(**settings)
    p = preprocess_of(processor)
    level = 1 / 255 / min(p.std)
    for photograph in photographs:
        got = plain_view(photograph, p)
        same = torch.as_tensor(with_pillow(photograph, return_tensors="pt")["pixel_values"][0])
        torch.testing.assert_close(got, same, atol=1e-5, rtol=1e-5)
        differ = (got - processor(photograph, return_tensors="pt")["pixel_values"][0]).abs() / level
        assert float(differ.mean()) < 0.3, photograph.size
        assert float((differ > 1.01).float().mean()) < 0.001, photograph.size


@pytest.mark.parametrize("side", range(220, 260))
def test_every_side_is_resized_to(side: int) -> None:
    """A share of the side is kept, and no rounding makes it a pixel less."""
    p = preprocess_of(CLIPImageProcessor(size={"shortest_edge": side}, crop_size=220))
    assert int(p.size[0] / p.crop) == side


def test_kept_in_a_config() -> None:
    p = preprocess_of(PROCESSORS["clip"])
    again = Preprocess(**json.loads(json.dumps(asdict(p))))
    assert again == p
    assert hash(again) == hash(p)
    assert (p.size, p.interpolation, p.crop) == ((224, 224), "bicubic", 1.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"do_resize": False}, "no resizing"),
        ({"do_rescale": False}, "no rescaling"),
        ({"rescale_factor": 1 / 127.5}, "rescaling by 0.00784"),
        ({"do_center_crop": False}, "pictures of any shape"),
        ({"crop_size": {"height": 96, "width": 128}}, "a crop that is not square"),
        ({"crop_size": 256}, "a crop of 256 from 224 pixels"),
        ({"size": {"shortest_edge": 224, "longest_edge": 300}}, "a longest edge"),
        ({"size": {"height": 225, "width": 225}, "crop_size": 224}, "an odd crop"),
    ],
)
def test_what_cannot_be_done(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AudiokdError, match=f"CLIPImageProcessor: {said}"):
        preprocess_of(CLIPImageProcessor(**changes))
