"""What AudioLDM2's UNet is told of a text (arXiv 2308.05734): states of a T5, and what a language model says after CLAP and T5.

diffusers' AudioLDM2Pipeline pads a batch's texts to the longest and lets the language model count the padding as positions, so
that a text's condition depends on its batch mates. Here positions are of what is there alone: each text is told what diffusers
tells it by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NEW_TOKENS = 8  # that the language model says, where its configuration does not tell


@torch.no_grad()
def two_texts(pipeline: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """Conditions of B texts, by the names of AudioLDM2UNet2DConditionModel's forward.

    Args:
        pipeline: with `text_encoder` (CLAP), `text_encoder_2` (T5), their tokenizers, `projection_model` and `language_model`.
        texts: the longer ones are cut to what their tokenizers take.

    Returns:
        `encoder_hidden_states` [B, new tokens, D], `encoder_hidden_states_1` [B, T, D'] and its `encoder_attention_mask_1` [B, T].
    """
    clap, mask = _tokens(pipeline.tokenizer, texts, "max_length", pipeline.text_encoder)
    heard = pipeline.text_encoder.get_text_features(clap, attention_mask=mask)
    heard = getattr(heard, "pooler_output", heard)[:, None]
    ids, mask = _tokens(pipeline.tokenizer_2, texts, "longest", pipeline.text_encoder_2)
    states = pipeline.text_encoder_2(ids, attention_mask=mask)[0]
    projected = pipeline.projection_model(
        hidden_states=heard,
        hidden_states_1=states,
        attention_mask=mask.new_ones(len(mask), 1),
        attention_mask_1=mask,
    )
    said = _said(pipeline.language_model, projected.hidden_states, projected.attention_mask)
    dtype = pipeline.unet.dtype
    return {
        "encoder_hidden_states": said.to(dtype),
        "encoder_hidden_states_1": states.to(dtype),
        "encoder_attention_mask_1": mask,
    }


def padded(conditions: dict[str, Tensor], length: int) -> dict[str, Tensor]:
    """The same with T5's states and mask [B, `length`, ...], what is added masked."""
    states, mask = (conditions[k] for k in ("encoder_hidden_states_1", "encoder_attention_mask_1"))
    more = length - mask.shape[1]
    return conditions | {
        "encoder_hidden_states_1": F.pad(states, (0, 0, 0, more)),
        "encoder_attention_mask_1": F.pad(mask, (0, more)),
    }


def _tokens(tokenizer: Any, texts: Sequence[str], padding: str, encoder: Any) -> tuple[Tensor, Tensor]:
    found = tokenizer(
        list(texts), padding=padding, max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    return found["input_ids"].to(encoder.device), found["attention_mask"].to(encoder.device)


def _said(model: Any, hidden: Tensor, mask: Tensor) -> Tensor:
    """Hidden states [B, new tokens, D] that the model goes on with after `hidden` [B, T, D], each fed back as the next input."""
    found: list[Tensor] = []
    past = None
    for _ in range(getattr(model.config, "max_new_tokens", None) or NEW_TOKENS):
        position = (mask.cumsum(1) - 1).clamp(min=0)[:, -hidden.shape[1] :]
        out = model(
            inputs_embeds=hidden,
            attention_mask=mask,
            position_ids=position,
            past_key_values=past,
            use_cache=True,
            output_hidden_states=True,
        )
        past, hidden = out.past_key_values, out.hidden_states[-1][:, -1:]
        found.append(hidden)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return torch.cat(found, dim=1)
