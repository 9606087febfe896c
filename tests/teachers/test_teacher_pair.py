"""CLIP, SigLIP, CLAP and LiT behind one face: transformers' own numbers, on real pictures and sound, whatever the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pairs import save_pair
from torch import Tensor

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.nn.weights import weights_sha256
from audiokd.teachers.pair import ContrastivePair, load_pair

FAMILIES = ("clip", "siglip", "clap", "lit_timm", "lit_vit", "lit_audio")

TEXTS = ["a photo of a dog.", "rain", "this is the sound of a large clock in the rain."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: save_pair(family, tmp_path_factory.mktemp(family)) for family in FAMILIES}


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, folders: dict[str, Path]) -> ContrastivePair:
    return load_pair(str(folders[request.param]))


@pytest.fixture(scope="module")
def pictures() -> list[Any]:
    """A photograph, and two parts of it of other shapes."""
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    with get_sample_data("grace_hopper.jpg") as f:
        whole = Image.open(f).convert("RGB")
    return [whole, whole.crop((0, 0, 300, 200)), whole.crop((100, 50, 180, 400))]


@pytest.fixture(scope="module")
def clips(two_cities: Path) -> list[Tensor]:
    wav = torch.from_numpy(load_at(Utterance("a", str(two_cities)), 16_000))
    return [wav[16_000:40_000], wav[80_000:112_000], wav[200_000:210_000]]


@pytest.fixture
def media(pair: ContrastivePair, pictures: list[Any], clips: list[Tensor]) -> list[Any]:
    return pictures if pair.kind == "image" else clips


def test_equals_transformers(pair: ContrastivePair, media: list[Any]) -> None:
    """Its whole forward, with what its own processor and tokenizer give."""
    inputs = pair.preprocess(media)
    full = {"padding": "max_length", "max_length": 20} if "siglip" in pair.name else {"padding": True}
    words = pair.tokenizer(TEXTS, return_tensors="pt", **full)
    text = {"input_ids": words["input_ids"]}
    if "siglip" not in pair.name:
        text["attention_mask"] = words["attention_mask"]
    with torch.no_grad():
        mine = pair.logits(pair.embed_media(inputs), pair.embed_texts(TEXTS))
        if pair.kind == "image":
            theirs = pair.net(**text, **pair.processor(images=media, return_tensors="pt"))
            theirs = theirs if isinstance(theirs, Tensor) else theirs.logits_per_image  # a LiT's are all it gives
        elif pair.net.config.model_type == "lit":
            theirs = torch.cat([pair.net(**text, wav=c[None]) for c in media])
        else:
            heard = pair.processor([c.numpy() for c in media], sampling_rate=16_000, return_tensors="pt")
            theirs = pair.net(**text, input_features=heard["input_features"]).logits_per_audio
    assert pair.dim == pair.embed_texts(TEXTS).shape[1]
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert float(mine.std()) > 1e-3


def test_nothing_depends_on_the_batch(pair: ContrastivePair, media: list[Any]) -> None:
    with torch.no_grad():
        together, texts = pair.embed_media(pair.preprocess(media)), pair.embed_texts(TEXTS)
        alone = torch.cat([pair.embed_media(pair.preprocess([m])) for m in media])
        one_by_one = torch.cat([pair.embed_texts([t]) for t in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(texts, one_by_one, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(len(media)))


def test_long_sound_is_heard_whole(folders: dict[str, Path], two_cities: Path) -> None:
    """In windows, the last of which ends where it does; the extractor by itself takes a part of it at random."""
    pair = load_pair(str(folders["clap"]))
    wav = torch.from_numpy(load_at(Utterance("a", str(two_cities)), 16_000))[: 16_000 * 5]
    inputs = pair.preprocess([wav, wav[:32_000]])
    assert inputs["windows"].tolist() == [3, 1]
    with torch.no_grad():
        found = pair.embed_media(inputs)
        again = pair.embed_media(pair.preprocess([wav]))
        parts = [wav[s : s + 32_000] for s in (0, 32_000, 48_000)]
        each = pair.embed_media(pair.preprocess(parts))
    torch.testing.assert_close(again[0], found[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[0], torch.nn.functional.normalize(each.sum(0), dim=0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], each[0], atol=1e-5, rtol=1e-4)


def test_windows_of_a_lit(folders: dict[str, Path], clips: list[Tensor]) -> None:
    """Where its encoder hears so much and no more: long clips, short ones, one shorter than a frame, alone and together."""
    pair = load_pair(str(folders["lit_audio"]))
    type(pair.net).max_samples, kept = 16_000, type(pair.net).max_samples
    try:
        inputs = pair.preprocess([*clips, clips[0][:50]])
        assert inputs["windows"].tolist() == [2, 2, 1, 1]
        assert inputs["lengths"].tolist() == [16_000, 16_000, 16_000, 16_000, 10_000, 50]
        with torch.no_grad():
            together = pair.embed_media(inputs)
            alone = [pair.embed_media(pair.preprocess([c])) for c in (*clips, clips[0][:50])]
            parts = pair.embed_media(pair.preprocess([clips[0][:16_000], clips[0][-16_000:]]))
    finally:
        type(pair.net).max_samples = kept
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together[0], torch.nn.functional.normalize(parts.sum(0), dim=0), atol=1e-5, rtol=1e-4)


def test_frozen_and_passed_through(pair: ContrastivePair, media: list[Any]) -> None:
    assert not any(p.requires_grad for p in pair.parameters())
    inputs = pair.preprocess(media)
    key = next(k for k in ("pixel_values", "input_features", "wav") if k in inputs)
    inputs[key].requires_grad_()
    pair.embed_media(inputs)[:, 0].sum().backward()
    assert inputs[key].grad is not None
    assert bool(inputs[key].grad.any())


def test_bfloat16(folders: dict[str, Path], pictures: list[Any]) -> None:
    pair = load_pair(str(folders["clip"]))
    with torch.no_grad():
        exact = pair.embed_media(pair.preprocess(pictures))
        with torch.autocast("cpu", torch.bfloat16):
            rough = pair.embed_media(pair.preprocess(pictures))
    assert float((exact * rough.float()).sum(-1).min()) > 0.99


def test_logits_are_float32_under_autocast(pair: ContrastivePair) -> None:
    """Cosines of near classes, times a scale of 100: bfloat16 would round them to one."""
    torch.manual_seed(0)
    media, texts = (torch.nn.functional.normalize(torch.randn(n, pair.dim), dim=-1) for n in (4, 50))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = pair.logits(media.bfloat16(), texts)
    with torch.no_grad():
        expected = pair.logits(media.bfloat16().float(), texts)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_pair_published_in_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    from transformers import CLIPModel

    folder = save_pair("clip", tmp_path / "clip")
    half = CLIPModel.from_pretrained(folder).to(dtype)
    half.save_pretrained(folder)
    pair = load_pair(str(folder))
    assert {p.dtype for p in pair.parameters()} == {torch.float32}
    weight = half.visual_projection.weight
    torch.testing.assert_close(pair.net.visual_projection.weight, weight.float())
    assert weights_sha256(half) != weights_sha256(pair.net)  # other types are other weights; bfloat16 has a hash, too


def test_what_is_refused(pair: ContrastivePair, folders: dict[str, Path], whisper_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match=r"22 tokens, the model reads 20: 'dog dog"):
        pair.embed_texts(["rain", "dog " * 20])
    for texts in ([], ["rain", " "]):
        with pytest.raises(AudiokdError, match="no text, or an empty one"):
            pair.embed_texts(texts)
    with pytest.raises(AudiokdError, match="no image or waveform"):
        pair.preprocess([])
    if pair.kind == "audio":
        for wav in (torch.zeros(0), torch.zeros(1, 100)):
            with pytest.raises(AudiokdError, match=r"a waveform \[T\] is due, not \["):
                pair.preprocess([wav])
    with pytest.raises(AudiokdError, match="a whisper model pairs nothing with texts"):
        load_pair(str(whisper_dir))
    with pytest.raises(AudiokdError, match="no such folder"):
        load_pair(str(tmp_path / "nowhere"))
    for name, lacks in (("preprocessor_config.json", "preprocessing"), ("tokenizer.json", "tokenizer")):
        copy = save_pair(Path(pair.name).name.rstrip("0123456789"), tmp_path / lacks)
        for file in copy.glob("*token*" if lacks == "tokenizer" else name):
            file.unlink()
        with pytest.raises(AudiokdError, match=f"cannot read its {lacks}"):
            load_pair(str(copy))
