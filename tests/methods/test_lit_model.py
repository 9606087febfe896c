"""The LiT pair model: what it begins with, what it keeps when it is saved, its pictures, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pairs import bert, lit, save_pair, tokenizer
from torch.nn import functional as F
from transformers import AutoModel

import audiokd  # noqa: F401  whose models the Auto classes know
from audiokd.errors import AudiokdError
from audiokd.methods.lit.captions import Captions
from audiokd.methods.lit.config import LitConfig
from audiokd.methods.lit.folder import image_processor
from audiokd.methods.lit.model import LitModel
from audiokd.nn.retrieval import recall_at_1
from audiokd.teachers.pair import load_pair
from audiokd.teachers.text_bank import fill, make_text_bank
from audiokd.vision.transforms import Preprocess, plain_view

TEXTS = ["a photo of a dog.", "rain", "this is the sound of a large clock in the rain."]


@pytest.fixture(scope="module", params=["timm", "vit", "audio"])
def model(request: pytest.FixtureRequest) -> LitModel:
    torch.manual_seed(0)
    return lit(request.param).eval()


def media(model: LitModel) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    if model.config.pairs == "image":
        return {"pixel_values": torch.randn(3, 3, 32, 32, generator=g)}
    return {"wav": 0.1 * torch.randn(3, 16_000, generator=g), "lengths": torch.tensor([16_000, 9_000, 40])}


def test_the_towers_begin_as_their_own_models_do(model: LitModel) -> None:
    """Not as LitModel would have them begin, which begins nothing."""
    words = model.text_model.embeddings.word_embeddings.weight
    assert float(words.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert not bool(words[0].any())  # padding
    for name, p in model.named_parameters():
        assert bool(torch.isfinite(p).all()), name
        if "norm" in name.lower() and name.endswith("weight"):
            assert bool((p == 1).all()), name
    assert float(model.logit_scale.detach().exp()) == pytest.approx(1 / 0.07, rel=1e-5)


@torch.no_grad()
def test_saved_and_loaded_it_says_the_same(model: LitModel, tmp_path: Path) -> None:
    words = tokenizer(20)(TEXTS, padding=True, return_tensors="pt")
    text = {k: words[k] for k in ("input_ids", "attention_mask")}
    found = model(**text, **media(model))
    assert found.shape == (3, 3)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(again, LitModel)
    torch.testing.assert_close(again(**text, **media(model)), found)
    assert again.config.pairs == model.config.pairs
    assert again.config.projection_dim == 24


@torch.no_grad()
def test_batch_is_single(model: LitModel) -> None:
    inputs = media(model)
    of = model.get_image_features if model.config.pairs == "image" else model.get_audio_features
    together = of(**inputs).pooler_output
    for i in range(3):
        alone = {k: v[i : i + 1] for k, v in inputs.items()}
        if "lengths" in alone:
            alone["wav"] = alone["wav"][:, : int(alone["lengths"])]
        torch.testing.assert_close(of(**alone).pooler_output, together[i : i + 1], atol=1e-5, rtol=1e-4)


def test_the_mean_is_over_words(model: LitModel) -> None:
    words = tokenizer(20)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model.pool_texts(words["input_ids"], words["attention_mask"])
        for i, text in enumerate(TEXTS):
            alone = model.text_model(**tokenizer(20)(text, return_tensors="pt")).last_hidden_state.mean(1)
            torch.testing.assert_close(found[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_the_scale_is_clamped(model: LitModel) -> None:
    kept = model.logit_scale.detach().clone()
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
        model.clamp_scale()
        assert float(model.logit_scale.exp()) == pytest.approx(100, rel=1e-5)
        model.logit_scale.copy_(kept)


@pytest.mark.parametrize(("mode", "crop"), [("center", 0.875), ("center", 1.0), ("squash", 1.0)])
def test_transformers_sees_pictures_as_we_do(mode: str, crop: float, coffee: Path) -> None:
    from PIL import Image

    with Image.open(coffee) as f:
        picture = f.convert("RGB")
    p = Preprocess((64, 64), (0.5, 0.4, 0.3), (0.5, 0.4, 0.6), "bicubic", crop, mode)
    theirs = image_processor(p)(images=[picture], return_tensors="pt")["pixel_values"][0]
    ours = plain_view(picture, p)
    assert theirs.shape == ours.shape
    assert float((theirs - ours).abs().max()) < 0.05
    assert float((theirs - ours).abs().mean()) < 0.005


def test_a_text_bank_of_it(tmp_path: Path) -> None:
    pair = load_pair(str(save_pair("lit_timm", tmp_path / "lit")))
    bank = make_text_bank(pair, fill(["dog", "cat", "rain"], "photo"), float(pair.scale))
    bank.check_model(load_and_hash(tmp_path / "lit"))
    assert bank.vectors.shape == (3, 24)
    found = F.normalize(pair.embed_texts(["a photo of a cat."]), dim=-1)
    torch.testing.assert_close(bank.vectors[1:2], found, atol=1e-6, rtol=1e-5)


def load_and_hash(folder: Path) -> str:
    from audiokd.nn.weights import weights_sha256

    return weights_sha256(load_pair(str(folder)))


def test_recall() -> None:
    x = F.normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert recall_at_1(x, x, torch.arange(6)) == 1
    assert recall_at_1(x, x.roll(1, 0), torch.arange(6)) == 0
    assert recall_at_1(x, x.roll(1, 0), torch.tensor([0, 0, 0, 1, 1, 1])) == pytest.approx(4 / 6)


def test_captions_once_each() -> None:
    captions = Captions({"a": "rain", "b": "a dog in the rain", "c": "rain"}, tokenizer(20), 18)
    assert captions.texts == ["a dog in the rain", "rain"]
    assert captions.numbers(["c", "b", "a"]).tolist() == [1, 0, 1]
    mine = captions.inputs([0, 1])
    theirs = tokenizer(20)(["a dog in the rain", "rain"], padding=True, return_tensors="pt")
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    with pytest.raises(AudiokdError, match=r"a caption of 22 tokens, the text encoder reads 18: 'dog dog"):
        Captions({"a": "dog " * 20}, tokenizer(20), 18)


def test_what_is_refused() -> None:
    of_text: list[dict[str, Any]] = [{"text_config": {"model_type": "gpt2"}}, {"media": {}}]
    for changes in of_text:
        with pytest.raises(AudiokdError, match="needs a media tower and a text encoder"):
            LitModel(LitConfig(**{"media": {"model_type": "timm"}, "text_config": bert(), **changes}))
    with pytest.raises(AudiokdError, match="have no processor in transformers"):
        image_processor(Preprocess(crop_mode="border"))
