"""Configuration of the speech language model. The defaults train from scratch on an hour or two of speech."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import AdamWSettings, RunSettings


@dataclass
class SpeechLMShape:
    """The language model.

    Args:
        name: hub id or folder of a decoder-only model (such as Qwen/Qwen2.5-0.5B) whose vocabulary is extended; empty is
            a Llama of the sizes below, from scratch, on characters.
        hidden: width.
        layers: depth.
        heads: of attention.
        ffn: width of the gated feed-forward layers.
        dropout: of the input embeddings in training.
        token_dropout: share of a target's input tokens that are hidden in training, so that it must look at its source.
        positions: plain counts on through source and target, as transformers' own generate does; aligned starts both at 0 and
            lets a text token take as many positions as it has frames on average, so that what belongs together has nearby
            positions: a head start for a model from scratch.
    """

    name: str = ""
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    ffn: int = 768
    dropout: float = 0.1
    token_dropout: float = 0.0
    positions: Literal["plain", "aligned"] = "plain"


@dataclass
class PairSettings:
    """Training data: utterances of a token store with their text.

    Args:
        text: plain is lower case without punctuation; raw is as the corpus writes it.
        text_dirs: Kaldi data dirs whose text takes the place of the store's own.
        batch_size: utterances a device and step, each in one direction.
        pack_length: tokens of a packed row at least; a longer utterance has a row of its own.
        max_length: utterances of more tokens (text and speech) are left out.
        tts_share: of the utterances, text -> speech; the others are speech -> text.
        unconditional: share of the utterances that come without their source, so that the model knows both sides alone.
        num_workers: loader processes a device; the batches are the same whatever it is.
        val_utterances: validation utterances used at most.
    """

    text: Literal["plain", "raw"] = "plain"
    text_dirs: tuple[str, ...] = ()
    batch_size: int = 16
    pack_length: int = 512
    max_length: int = 2048
    tts_share: float = 0.5
    unconditional: float = 0.1
    num_workers: int = 0
    val_utterances: int = 256


@dataclass
class LMOptimSettings(AdamWSettings):
    """AdamW as language models have it.

    Args:
        weight_decay: on matrices; norms have none.
    """

    lr: float = 1e-3
    min_lr: float = 1e-4
    warmup_steps: int = 50
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1


@dataclass
class SpeechLMSettings:
    """Everything `audiokd fit speech_lm` can be told.

    Args:
        codebooks: semantic models stream 0; delay models all streams, stream q shifted by q frames.
        model: the language model.
        data: token store and text.
        optim: optimiser.
        run: how long and where.
    """

    codebooks: Literal["semantic", "delay"] = "semantic"
    model: SpeechLMShape = field(default_factory=SpeechLMShape)
    data: PairSettings = field(default_factory=PairSettings)
    optim: LMOptimSettings = field(default_factory=LMOptimSettings)
    run: RunSettings = field(default_factory=RunSettings)
