"""Learnt tokens beside those of a frozen pair model, anew at every layer (IVLP, arXiv 2212.03640; PromptSRC, arXiv 2307.06948).

Pictures: the tokens stand behind the patches, without a position. Texts: they stand in the place of the first words, with theirs.
The text towers are CLIP's and SigLIP's, and those built as BERT is (CLAP's RoBERTa, LiT's), all of whose words hear each other.
At each of the first layers what the layer before made of them is thrown away and the layer's own tokens take the place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.nn.pooling import masked_mean

STD = 0.02


class DeepPrompts(nn.Module):
    """Tokens of the first `depth` layers.

    Args:
        depth: layers that have tokens of their own.
        count: tokens a layer.
        dim: size of one.
        first: tokens [count, dim] that the first layer begins with, such as those of "a photo of a"; others begin at random.

    Attributes:
        tokens: [depth, count, dim].
    """

    def __init__(self, depth: int, count: int, dim: int, first: Tensor | None = None):
        super().__init__()
        self.tokens = nn.Parameter(STD * torch.randn(depth, count, dim))
        if first is not None:
            with torch.no_grad():
                self.tokens[0] = first

    def __len__(self) -> int:
        return self.tokens.shape[0]


def prompted_images(net: Any, pixel_values: Tensor, tokens: Tensor | None) -> Tensor:
    """Embeddings [B, D] of length 1 of pictures that the tower sees with `tokens`.

    Args:
        net: transformers' CLIPModel or SiglipModel, or what has its `vision_model` and (CLIP's) `visual_projection`.
        pixel_values: [B, 3, H, W].
        tokens: [depth, count, width], or None for the stock forward.

    Raises:
        ValueError: more layers of tokens than the tower has.
    """
    tower = net.vision_model
    _check(tower, tokens)
    x = tower.embeddings(pixel_values)
    if tokens is not None:
        x = torch.cat([x, tokens[0].to(x.dtype).expand(len(x), -1, -1)], 1)
    if hasattr(tower, "pre_layrnorm"):
        x = tower.pre_layrnorm(x)
    for number, layer in enumerate(tower.encoder.layers):
        if tokens is not None and 0 < number < len(tokens):
            own = tokens[number].to(x.dtype).expand(len(x), -1, -1)
            x = torch.cat([x[:, : -own.shape[1]], own], 1)
        x = layer(x, None)
    if hasattr(net, "visual_projection"):
        return F.normalize(net.visual_projection(tower.post_layernorm(x[:, 0])), dim=-1)
    return F.normalize(tower.head(tower.post_layernorm(x)), dim=-1)


def prompted_texts(net: Any, input_ids: Tensor, tokens: Tensor | None, attention_mask: Tensor | None = None) -> Tensor:
    """Embeddings [N, D] of length 1 of texts whose first words are `tokens`.

    Args:
        net: transformers' CLIPModel, SiglipModel or ClapModel, or what has a `text_model` built as BERT is and a `text_projection`.
        input_ids: [N, T]; what stands in the place of `tokens` does not matter: behind CLIP's and BERT's start token, at the very
            beginning of SigLIP's texts. CLIP's may be padded to any length behind their end token, BERT's where `attention_mask`
            says so; SigLIP's are as long as in training.
        tokens: [depth, count, width], or None for the stock forward.
        attention_mask: [N, T] of towers built as BERT is, 0 where a text is over; all of T counts by default.

    Raises:
        ValueError: more layers of tokens than the tower has, or texts with no room for them.
    """
    tower = net.text_model
    _check(tower, tokens)
    bert = hasattr(tower.embeddings, "word_embeddings")
    clip = not bert and net.config.model_type == "clip"
    start, stop = _place(clip or bert, tokens)
    if stop > input_ids.shape[1]:
        raise ValueError(f"texts of {input_ids.shape[1]} tokens have no room for {stop - start} of their own")
    if bert:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        pooled = _prompted_bert(tower, input_ids, tokens, mask, start, stop)
        return F.normalize(net.text_projection(pooled), dim=-1)
    from transformers.masking_utils import create_causal_mask

    x = tower.embeddings(input_ids=input_ids)
    if tokens is not None:
        positions = tower.embeddings.position_embedding.weight[start:stop]
        x = _replaced(x, tokens[0] + positions, start, stop)
    how: dict[str, Any] = {}
    causal = None
    if clip:  # what is behind a text's end is heard by none before it
        causal = create_causal_mask(config=tower.config, inputs_embeds=x, attention_mask=None, past_key_values=None)
        how["is_causal"] = True
    for number, layer in enumerate(tower.encoder.layers):
        if tokens is not None and 0 < number < len(tokens):
            x = _replaced(x, tokens[number], start, stop)
        x = layer(x, causal, **how)
    x = tower.final_layer_norm(x)
    if not clip:
        return F.normalize(tower.head(x[:, -1]), dim=-1)
    # as in transformers: old configs name another end token than their tokenizer, whose greatest id it is
    ends = input_ids.argmax(-1) if tower.eos_token_id == 2 else (input_ids == tower.eos_token_id).int().argmax(-1)
    return F.normalize(net.text_projection(x[torch.arange(len(x), device=x.device), ends]), dim=-1)


def _prompted_bert(tower: Any, input_ids: Tensor, tokens: Tensor | None, mask: Tensor, start: int, stop: int) -> Tensor:
    """What a tower built as BERT is makes of a text, [N, H]: through its pooler, or the mean over its words where it has none."""
    from transformers.masking_utils import create_bidirectional_mask

    words = tower.embeddings.word_embeddings(input_ids)
    if tokens is not None:
        words = _replaced(words, tokens[0], start, stop)
    # given vectors, RoBERTa counts positions through the padding too: nobody hears those
    x = tower.embeddings(inputs_embeds=words)
    heard = create_bidirectional_mask(config=tower.config, inputs_embeds=x, attention_mask=mask)
    for number, layer in enumerate(tower.encoder.layer):
        if tokens is not None and 0 < number < len(tokens):
            x = _replaced(x, tokens[number], start, stop)
        x = layer(x, heard)
    return tower.pooler(x) if tower.pooler is not None else masked_mean(x, mask)


def _place(start_token: bool, tokens: Tensor | None) -> tuple[int, int]:
    start = int(start_token)
    return start, start + (0 if tokens is None else tokens.shape[1])


def _replaced(x: Tensor, own: Tensor, start: int, stop: int) -> Tensor:
    return torch.cat([x[:, :start], own.to(x.dtype).expand(len(x), -1, -1), x[:, stop:]], 1)


def _check(tower: Any, tokens: Tensor | None) -> None:
    encoder = tower.encoder
    layers = len(encoder.layers if hasattr(encoder, "layers") else encoder.layer)
    if tokens is not None and len(tokens) > layers:
        raise ValueError(f"tokens of {len(tokens)} layers for a tower of {layers}")
