"""Learnt tokens: none is the stock forward; where they stand, which layer's they are, and what learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_pairs import save_pair
from torch import Tensor

from audiokd.nn.deep_prompts import DeepPrompts, prompted_images, prompted_texts
from audiokd.teachers.pair import ContrastivePair, load_pair

TEXTS = ["a photo of a dog.", "a photo of a large clock in the rain."]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ContrastivePair:
    return load_pair(str(save_pair(request.param, tmp_path_factory.mktemp(request.param))))


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    with get_sample_data("grace_hopper.jpg") as f:
        whole = torch.tensor(list(Image.open(f).convert("RGB").resize((64, 32)).getdata())).view(32, 64, 3)
    return torch.stack([whole[:, :32], whole[:, 32:]]).permute(0, 3, 1, 2).float() / 127.5 - 1


def ids_of(pair: ContrastivePair, texts: list[str] = TEXTS) -> Tensor:
    return pair.tokenizer(texts, padding="max_length", max_length=20, return_tensors="pt")["input_ids"]


@torch.no_grad()
def test_none_is_the_stock_forward(pair: ContrastivePair, pictures: Tensor) -> None:
    seen, read = pair.embed_media({"pixel_values": pictures}), pair.embed_texts(TEXTS)
    torch.testing.assert_close(prompted_images(pair.net, pictures, None), seen, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(prompted_texts(pair.net, ids_of(pair), None), read, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_words_own_embeddings_are_the_stock_forward(pair: ContrastivePair) -> None:
    """Of the first layer: the learnt tokens begin as those of the words in whose place they stand."""
    clip = pair.net.config.model_type == "clip"
    words = ids_of(pair)[0, 1:5] if clip else ids_of(pair)[0, :4]
    first = pair.net.text_model.embeddings.token_embedding(words)
    prompts = DeepPrompts(1, 4, 32, first)
    others = ["dog photo dog a dog.", "dog photo dog a large clock in the rain."]
    stand_ins = ids_of(pair, others)
    assert not torch.equal(stand_ins, ids_of(pair))
    if not clip:  # whose texts begin with the start token that this tokenizer has, the first of the four
        stand_ins[:, 0] = 5
    found = prompted_texts(pair.net, stand_ins, prompts.tokens)
    torch.testing.assert_close(found, pair.embed_texts(TEXTS), atol=1e-6, rtol=1e-5)
    deeper = DeepPrompts(2, 4, 32, first)
    assert float((prompted_texts(pair.net, stand_ins, deeper.tokens) - found).abs().max()) > 1e-3


@torch.no_grad()
def test_each_layers_tokens_are_its_own(pair: ContrastivePair, pictures: Tensor) -> None:
    """Written out: behind the patches, without a position, and replaced before the second layer."""
    prompts = DeepPrompts(2, 3, 32)
    tower = pair.net.vision_model
    x = torch.cat([tower.embeddings(pictures), prompts.tokens[0].expand(2, 3, 32)], 1)
    x = tower.pre_layrnorm(x) if hasattr(tower, "pre_layrnorm") else x
    x = tower.encoder.layers[0](x, None)
    x[:, -3:] = prompts.tokens[1]
    x = tower.encoder.layers[1](x, None)
    if hasattr(pair.net, "visual_projection"):
        expected = pair.net.visual_projection(tower.post_layernorm(x)[:, 0])
    else:
        expected = tower.head(tower.post_layernorm(x))
    found = prompted_images(pair.net, pictures, prompts.tokens)
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected, dim=-1), atol=1e-6, rtol=1e-5)
    assert float((found - prompted_images(pair.net, pictures, None)).abs().max()) > 1e-3


def test_only_the_tokens_learn(pair: ContrastivePair, pictures: Tensor) -> None:
    seen, read = DeepPrompts(2, 4, 32), DeepPrompts(2, 4, 32)
    logits = pair.logits(
        prompted_images(pair.net, pictures, seen.tokens), prompted_texts(pair.net, ids_of(pair), read.tokens)
    )
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    for prompts in (seen, read):
        assert prompts.tokens.grad is not None
        assert all(bool(g.any()) for g in prompts.tokens.grad)  # of every layer
    assert all(p.grad is None for p in pair.parameters())


def test_texts_do_not_hear_their_padding(tmp_path: Path) -> None:
    pair = load_pair(str(save_pair("clip", tmp_path / "clip")))
    prompts = DeepPrompts(2, 4, 32)
    with torch.no_grad():
        long = prompted_texts(pair.net, ids_of(pair)[:1], prompts.tokens)
        short = prompted_texts(pair.net, pair.tokenizer(TEXTS[:1], return_tensors="pt")["input_ids"], prompts.tokens)
    torch.testing.assert_close(long, short, atol=1e-6, rtol=1e-5)


def test_what_has_no_room(pair: ContrastivePair, pictures: Tensor) -> None:
    for run in (lambda t: prompted_images(pair.net, pictures, t), lambda t: prompted_texts(pair.net, ids_of(pair), t)):
        with pytest.raises(ValueError, match="tokens of 3 layers for a tower of 2"):
            run(DeepPrompts(3, 4, 32).tokens)
    with pytest.raises(ValueError, match="texts of 20 tokens have no room for 21"):
        prompted_texts(pair.net, ids_of(pair), DeepPrompts(1, 21, 32).tokens)
