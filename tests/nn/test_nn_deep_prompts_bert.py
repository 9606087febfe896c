"""Learnt tokens in text towers built as BERT is: CLAP's RoBERTa with its pooler, a LiT's by the mean over words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pairs import bert, lit, save_pair, tokenizer
from torch import Tensor
from torch.nn import functional as F

from audiokd.nn.deep_prompts import DeepPrompts, prompted_images, prompted_texts
from audiokd.teachers.pair import load_pair

TEXTS = ["a photo of a dog.", "a photo of a clock in the large sound of the rain."]
COUNT = 4


@pytest.fixture(scope="module", params=["clap", "bert", "roberta"])
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "clap":
        return load_pair(str(save_pair("clap", tmp_path_factory.mktemp("clap")))).net
    torch.manual_seed(0)
    longest = {"max_position_embeddings": 22} if request.param == "roberta" else {}
    return lit("vit", text_config=bert(request.param, **longest)).eval().requires_grad_(False)


def words(texts: list[str] = TEXTS) -> tuple[Tensor, Tensor]:
    found = tokenizer(20)(texts, padding=True, return_tensors="pt")
    return found["input_ids"], found["attention_mask"]


def stock(net: Any, ids: Tensor, mask: Tensor) -> Tensor:
    return F.normalize(net.get_text_features(input_ids=ids, attention_mask=mask).pooler_output, dim=-1)


@torch.no_grad()
def test_none_is_the_stock_forward(net: Any) -> None:
    ids, mask = words()
    torch.testing.assert_close(prompted_texts(net, ids, None, mask), stock(net, ids, mask), atol=1e-6, rtol=1e-5)
    whole = ids[1:]  # no mask: all of it counts
    expected = stock(net, whole, torch.ones_like(whole))
    torch.testing.assert_close(prompted_texts(net, whole, None), expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_words_own_embeddings_are_the_stock_forward(net: Any) -> None:
    ids, mask = words()
    prompts = DeepPrompts(1, COUNT, 32, net.text_model.embeddings.word_embeddings(ids[0, 1 : 1 + COUNT]))
    others = ids.clone()
    others[:, 1 : 1 + COUNT] = 7
    found = prompted_texts(net, others, prompts.tokens, mask)
    torch.testing.assert_close(found, stock(net, ids, mask), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_each_layers_tokens_are_its_own(net: Any) -> None:
    """Written out for one text without padding: word, position, type, norm; replaced before the second layer; then pooled."""
    ids, _ = words(TEXTS[1:])
    tower, prompts = net.text_model, DeepPrompts(2, COUNT, 32)
    e = tower.embeddings
    x = e.word_embeddings(ids)
    x[:, 1 : 1 + COUNT] = prompts.tokens[0]
    first = 0 if tower.config.model_type == "bert" else tower.config.pad_token_id + 1
    x = e.LayerNorm(x + e.position_embeddings.weight[first : first + x.shape[1]] + e.token_type_embeddings.weight[0])
    x = tower.encoder.layer[0](x, None)
    x[:, 1 : 1 + COUNT] = prompts.tokens[1]
    x = tower.encoder.layer[1](x, None)
    pooled = tower.pooler(x) if net.config.model_type == "clap" else x.mean(1)
    expected = F.normalize(net.text_projection(pooled), dim=-1)
    found = prompted_texts(net, ids, prompts.tokens)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert float((found - prompted_texts(net, ids, None)).abs().max()) > 1e-3


@torch.no_grad()
def test_a_text_does_not_hear_its_padding(net: Any) -> None:
    prompts = DeepPrompts(2, COUNT, 32)
    together = prompted_texts(net, words()[0], prompts.tokens, words()[1])
    alone = prompted_texts(net, words(TEXTS[:1])[0], prompts.tokens)
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=1e-5)


def test_only_the_tokens_learn_and_what_has_no_room(net: Any) -> None:
    ids, mask = words()
    prompts = DeepPrompts(2, COUNT, 32)
    prompted_texts(net, ids, prompts.tokens, mask)[:, 0].sum().backward()
    assert prompts.tokens.grad is not None
    assert all(bool(g.any()) for g in prompts.tokens.grad)
    assert all(p.grad is None for p in net.text_model.parameters())
    with pytest.raises(ValueError, match="tokens of 3 layers for a tower of 2"):
        prompted_texts(net, ids, DeepPrompts(3, COUNT, 32).tokens, mask)
    with pytest.raises(ValueError, match=r"texts of \d+ tokens have no room for 19"):
        prompted_texts(net, ids, DeepPrompts(1, 19, 32).tokens, mask)


@torch.no_grad()
def test_a_lits_small_vit_takes_prompts(tmp_path: Path) -> None:
    pair = load_pair(str(save_pair("lit_vit", tmp_path / "vit")))
    pictures = torch.randn(3, 3, 32, 32)
    seen = pair.embed_media({"pixel_values": pictures})
    torch.testing.assert_close(prompted_images(pair.net, pictures, None), seen, atol=1e-6, rtol=1e-5)
    assert float((prompted_images(pair.net, pictures, DeepPrompts(2, 3, 32).tokens) - seen).abs().max()) > 1e-4
