"""Text to codes and codes to text: one token a stream and step, with a key-value cache.

An utterance's result is the same alone and in any batch: prompts are padded on the left, padding is never attended to, and what
sampling draws depends on (seed, key of the utterance, step) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audiokd.data.crops import rng_of
from audiokd.methods.speech_lm.delay import EMPTY, undelay
from audiokd.methods.speech_lm.examples import positions, prompt
from audiokd.methods.speech_lm.model import SpeechLM
from audiokd.methods.speech_lm.pairs import as_told


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the likeliest.
        top_k: draw from the likeliest only; 0 from all.
        seed: of the draws.
    """

    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Speech:
    """Generated codes [Q, T']; `ended` is false where the length guard ended them."""

    codes: np.ndarray
    ended: bool


@dataclass(frozen=True)
class Text:
    """Generated text; `ended` is false where the length guard ended it."""

    text: str
    ended: bool


def text_to_speech(
    lm: SpeechLM, texts: Sequence[str], keys: Sequence[str], max_frames: int, how: Sampling = Sampling()
) -> list[Speech]:
    """Speak texts.

    Args:
        lm: the model.
        texts: as a person writes them.
        keys: of the utterances, for sampling.
        max_frames: speech of more frames is cut.
        how: greedy by default.
    """
    told = [as_told(t, lm.speech["text"]) for t in texts]
    nothing = np.zeros((lm.vocab.streams, 0), dtype=np.int64)
    prompts = [prompt("tts", ids, nothing, lm.vocab) for ids in lm.vocab.encode(told)]
    return [_to_speech(steps, lm, max_frames) for steps in _generate(lm, prompts, keys, True, max_frames, how)]


def speech_to_text(
    lm: SpeechLM, codes: Sequence[np.ndarray], keys: Sequence[str], max_tokens: int, how: Sampling = Sampling()
) -> list[Text]:
    """Transcribe codes.

    Args:
        lm: the model.
        codes: [>= Q, T'] each.
        keys: of the utterances, for sampling.
        max_tokens: longer texts are cut.
        how: greedy by default.
    """
    prompts = [prompt("stt", [], c, lm.vocab) for c in codes]
    out = []
    for steps in _generate(lm, prompts, keys, False, max_tokens, how):
        ids = steps[:-1, 0].tolist()
        out.append(Text(lm.vocab.decode(ids).strip(), len(ids) < max_tokens))
    return out


def _to_speech(steps: np.ndarray, lm: SpeechLM, max_frames: int) -> Speech:
    """The codes in generated steps [S, Q]."""
    frames = int(np.flatnonzero(steps[:, 0] == lm.vocab.end)[0])
    codes = undelay(steps[: frames + lm.vocab.streams - 1])
    return Speech(codes - np.array(lm.vocab.offsets)[:, None], frames < max_frames)


@torch.no_grad()
def _generate(
    lm: SpeechLM, prompts: list[np.ndarray], keys: Sequence[str], speech: bool, most: int, how: Sampling
) -> list[np.ndarray]:
    """The steps [S, Q] that follow each prompt [L, Q], with an end token after `most` frames or text tokens at the latest.

    F frames take F + 1 steps, or F + Q - 1 where the delayed streams go on for longer than the end token.
    """
    if not prompts:
        return []
    vocab, device = lm.vocab, lm.device
    width, streams = max(map(len, prompts)), vocab.streams
    told = streams if speech else 1  # streams that are generated
    after = max(told - 1, 1)  # steps from the first without a frame to the last of all
    tokens = torch.full((len(prompts), width, streams), EMPTY)
    at = torch.zeros(len(prompts), width)
    for row, place, p in zip(tokens, at, prompts):
        row[width - len(p) :] = torch.from_numpy(p)
        place[width - len(p) :] = torch.from_numpy(positions("tts" if speech else "stt", len(p), len(p), vocab))
    tokens, at = tokens.to(device), at.to(device)
    stride = 1.0 if speech else vocab.text_step or 1.0
    mask = (tokens != EMPTY).any(-1)
    allowed = [_allowed(lm, q, speech) for q in range(told)]
    frames = np.full(len(prompts), most + 1)  # not known yet: more than there can be
    out: list[np.ndarray] = []
    cache = None
    while not out or (len(out) < frames + after).any():
        step = len(out)
        result = lm.lm.base_model(
            inputs_embeds=lm.embed(tokens),
            attention_mask=mask.long(),
            position_ids=at,
            past_key_values=cache,
            use_cache=True,
        )
        cache, hidden = result.past_key_values, result.last_hidden_state[:, -1]
        tokens = torch.full((len(prompts), 1, streams), EMPTY, device=device)
        for q, mine in enumerate(allowed[: step + 1]):
            first = vocab.head(q)[0]
            logits = lm.head(hidden, q).float().masked_fill(~mine, -torch.inf)
            if speech and step == 0:
                logits[:, vocab.end] = -torch.inf  # no frame at all cannot be made a sound
            chosen = first + _choose(logits, how, keys, step, q)
            if q == 0 and step == most:
                chosen = torch.full_like(chosen, vocab.end)
            on = torch.from_numpy(step - q < frames + (q == 0)).to(device)
            tokens[on, 0, q] = chosen[on]
            if q == 0:
                ends = (tokens[:, 0, 0] == vocab.end).cpu().numpy()
                frames = np.where(ends, step, frames)
        out.append(tokens[:, 0].cpu().numpy())
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        at = at[:, -1:] + stride
    steps = np.stack(out, 1)
    return [s[: n + after] for s, n in zip(steps, frames)]


def _allowed(lm: SpeechLM, stream: int, speech: bool) -> Tensor:
    """Which columns of stream's head may be chosen: codes of the stream, or text; the end in stream 0. Shape: [N]."""
    v = lm.vocab
    first, end = v.head(stream)
    ids = torch.arange(first, end, device=lm.device)
    mine = (ids >= v.offsets[stream]) if speech else (ids < v.text_size)
    return mine | (ids == v.end)


def _choose(logits: Tensor, how: Sampling, keys: Sequence[str], step: int, stream: int) -> Tensor:
    """A column of each row of `logits` [B, N]: the largest, or a draw by the Gumbel trick."""
    if not how.temperature:
        return logits.argmax(-1)
    if how.top_k:
        least = logits.topk(min(how.top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    noise = np.stack([rng_of(how.seed, "token", k, step, stream).gumbel(size=logits.shape[-1]) for k in keys])
    return (logits / how.temperature + torch.from_numpy(noise).to(logits)).argmax(-1)
