"""A decoder-only transformers model that reads and writes text and speech tokens.

The model stays a plain transformers model: all streams have their rows in its one embedding matrix and their slices of its
one output matrix. A step's embedding is the sum of its streams' embeddings, and stream q is told by its own slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from audiokd.errors import AudiokdError
from audiokd.methods.speech_lm.data import pack
from audiokd.methods.speech_lm.delay import EMPTY
from audiokd.methods.speech_lm.examples import Example
from audiokd.methods.speech_lm.pairs import Pair
from audiokd.methods.speech_lm.settings import SpeechLMShape
from audiokd.methods.speech_lm.vocabulary import Vocabulary, character_tokenizer, extend
from audiokd.teachers.base import check_name

#: config.json's key for what the tokens are
SPEECH = "speech_tokens"
#: positions that a model from scratch is good for; rotary positions have no table
POSITIONS = 8192


class SpeechLM(nn.Module):
    """A language model with its vocabulary.

    Args:
        lm: decoder-only transformers model; its config holds under SPEECH what the tokens are.
        vocab: the extended vocabulary.
        dropout: of the input embeddings in training.
        token_dropout: share of a target's input tokens hidden in training.

    Raises:
        AudiokdError: the output layer of `lm` has a bias.
    """

    def __init__(self, lm: Any, vocab: Vocabulary, dropout: float = 0.0, token_dropout: float = 0.0):
        super().__init__()
        self.lm, self.vocab, self.dropout, self.token_dropout = lm, vocab, dropout, token_dropout
        if lm.get_output_embeddings().bias is not None:
            raise AudiokdError("a model whose output layer has a bias is not supported", where=lm.config.model_type)

    @property
    def speech(self) -> dict[str, Any]:
        """What the tokens are: codebooks, cardinality, frame_rate, model_sha256 of the tokenizer, form of the text, text_step."""
        return getattr(self.lm.config, SPEECH)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm.device

    def embed(self, tokens: Tensor) -> Tensor:
        """Sum of the embeddings of a step's tokens. Shape: [B, L, Q] ids or EMPTY -> [B, L, D]."""
        there = tokens != EMPTY
        vectors = self.lm.get_input_embeddings()(tokens.clamp(min=0))
        return (vectors * there[..., None]).sum(-2) if tokens.shape[-1] > 1 else vectors[..., 0, :] * there

    def head(self, hidden: Tensor, stream: int) -> Tensor:
        """Logits [N, ids of the stream] of hidden states [N, D]; column 0 is id `vocab.head(stream)[0]`."""
        first, end = self.vocab.head(stream)
        return F.linear(hidden, self.lm.get_output_embeddings().weight[first:end])

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Teacher-forced nats of the targets of a packed batch (`data.pack`): nats [N, Q] and counts [N, Q] an example."""
        tokens, labels, owner = (batch[k].to(self.device) for k in ("tokens", "labels", "owner"))
        x = self.embed(tokens)
        if self.training:
            x = F.dropout(x, self.dropout)
            if self.token_dropout:
                hidden = torch.rand(owner.shape, device=x.device) < self.token_dropout
                x = x.masked_fill((hidden & batch["target"].to(self.device))[..., None], 0.0)
        size = owner.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool, device=x.device).tril()
        seen = (owner[:, None, :, None] == owner[:, None, None, :]) & causal  # padding sees padding, so no row is empty
        mask = torch.zeros(seen.shape, dtype=x.dtype, device=x.device).masked_fill(~seen, torch.finfo(x.dtype).min)
        out = self.lm.base_model(
            inputs_embeds=x, attention_mask=mask, position_ids=batch["positions"].to(self.device), use_cache=False
        ).last_hidden_state
        nats = torch.zeros(len(batch["ids"]), self.vocab.streams, device=x.device)
        counts = torch.zeros_like(nats)
        for q in range(self.vocab.streams):
            there = labels[..., q] != EMPTY
            told = labels[..., q][there] - self.vocab.head(q)[0]
            each = F.cross_entropy(self.head(out[there], q).float(), told, reduction="none")
            nats[:, q] = nats[:, q].index_add(0, owner[there], each)
            counts[:, q] = counts[:, q].index_add(0, owner[there], torch.ones_like(each))
        return nats, counts

    @torch.no_grad()
    def bits(self, examples: list[Example], batch_size: int = 16, pack_length: int = 512) -> np.ndarray:
        """-log2 p of each example's target given what comes before it. Shape: [N, Q] float64."""
        parts = [
            self(pack(examples[k : k + batch_size], pack_length))[0].double().cpu().numpy()
            for k in range(0, len(examples), batch_size)
        ]
        return np.concatenate(parts) / np.log(2)

    def save(self, folder: str | Path) -> None:
        """A transformers folder: config.json, model.safetensors, generation_config.json, the tokenizer."""
        self.lm.save_pretrained(folder)
        self.vocab.tokenizer.save_pretrained(folder)


def create(shape: SpeechLMShape, speech: dict[str, Any], pairs: Sequence[Pair]) -> SpeechLM:
    """A new model: from scratch on the characters of the texts, or `shape.name` with speech tokens added.

    Args:
        shape: of the model.
        speech: what the tokens are; `cardinality` gives the streams.
        pairs: utterances to be trained on.

    Raises:
        AudiokdError: `shape.name` cannot be loaded.
    """
    if shape.name:
        check_name(shape.name)
        try:
            lm = AutoModelForCausalLM.from_pretrained(shape.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(shape.name)
        except (OSError, ValueError) as e:
            why = str(e).splitlines()[0]
            fix = "give a hub id or folder of a decoder-only model with its tokenizer"
            raise AudiokdError(f"cannot load the language model: {why}", where=shape.name, fix=fix) from e
        first = len(tokenizer)
        extend(tokenizer, speech["cardinality"])
        _add_rows(lm, first, len(tokenizer))
    else:
        tokenizer = character_tokenizer(p.text for p in pairs)
        extend(tokenizer, speech["cardinality"])
        lm = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=shape.hidden,
                intermediate_size=shape.ffn,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                max_position_embeddings=POSITIONS,
                tie_word_embeddings=True,
                bos_token_id=None,
                eos_token_id=None,
                pad_token_id=None,
            )
        )
    vocab = Vocabulary.of(tokenizer, speech["cardinality"])
    if shape.positions == "aligned":
        tokens = sum(map(len, vocab.encode([p.text for p in pairs])))
        step = round(sum(p.frames for p in pairs) / tokens, 4)
        speech, vocab = {**speech, "text_step": step}, replace(vocab, text_step=step)
    tokenizer.eos_token = tokenizer.pad_token = tokenizer.convert_ids_to_tokens(vocab.end)
    for config in (lm.config, lm.generation_config):
        config.eos_token_id = config.pad_token_id = vocab.end
    setattr(lm.config, SPEECH, speech)
    return SpeechLM(lm, vocab, shape.dropout, shape.token_dropout)


def _add_rows(lm: Any, first: int, end: int) -> None:
    """Rows `first` to `end` of both matrices, each the mean of the rows before them."""
    if end > lm.get_input_embeddings().weight.shape[0]:
        lm.resize_token_embeddings(end, mean_resizing=False)
    with torch.no_grad():
        for layer in (lm.get_input_embeddings(), lm.get_output_embeddings()):  # one matrix where they are tied
            layer.weight[first:end] = layer.weight[:first].mean(0)


def load(folder: str | Path, device: str = "cpu", weights: bool = True) -> SpeechLM:
    """A model that `audiokd export` wrote, in eval mode; with `weights=False` its shape alone, freshly drawn.

    Raises:
        AudiokdError: no such model, or one without speech tokens.
    """
    fix = "give a folder that 'audiokd export' wrote from a run of speech_lm"
    check_name(str(folder))
    try:
        config = AutoConfig.from_pretrained(folder)
        if not getattr(config, SPEECH, None):
            raise AudiokdError("a model without speech tokens", where=str(folder), fix=fix)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM
        lm = model.from_pretrained(folder, dtype=torch.float32) if weights else model.from_config(config)
    except (OSError, ValueError) as e:
        why = str(e).splitlines()[0]
        raise AudiokdError(f"cannot load the language model: {why}", where=str(folder), fix=fix) from e
    speech = getattr(config, SPEECH)
    vocab = Vocabulary.of(tokenizer, speech["cardinality"], speech.get("text_step", 0.0))
    return SpeechLM(lm, vocab).eval().requires_grad_(not weights).to(device)
