"""One utterance as one sequence of the language model, in either direction, with or without its source.

    text -> speech   <|text|> t1 .. tn <|speech|> s1 .. sm <|end|>     targets: s1 .. sm <|end|>
    speech -> text   <|speech|> s1 .. sm <|text|> t1 .. tn <|end|>     targets: t1 .. tn <|end|>
    speech alone     <|speech|> s1 .. sm <|end|>                       text alone: <|text|> t1 .. tn <|end|>

A step has one token a stream; text is in stream 0. The end of speech comes in stream 0 right after its last frame, while the
delayed streams still have frames to give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audiokd.methods.speech_lm.delay import EMPTY, delay
from audiokd.methods.speech_lm.vocabulary import Vocabulary

#: what an example's target is, and what it is told from
KINDS = ("tts", "stt", "speech", "text")


@dataclass(frozen=True)
class Example:
    """`tokens` [L, Q] ids or EMPTY at `positions` [L], of which those from step `start` on are the target; `kind`: of KINDS."""

    kind: str
    tokens: np.ndarray
    positions: np.ndarray
    start: int
    id: str = ""
    characters: int = 0
    seconds: float = 0.0

    @property
    def labels(self) -> np.ndarray:
        """[L, Q]: what each step has to predict, EMPTY for nothing."""
        labels = np.full_like(self.tokens, EMPTY)
        labels[self.start - 1 : -1] = self.tokens[self.start :]
        return labels


def prompt(kind: str, text: list[int], codes: np.ndarray, vocab: Vocabulary) -> np.ndarray:
    """What comes before the target, [L, Q]: the source between its control tokens. `codes` [Q, T'] may hold more streams."""
    if kind in ("speech", "text"):
        return _rows([vocab.speech if kind == "speech" else vocab.text], vocab)
    if kind == "tts":
        return _rows([vocab.text, *text, vocab.speech], vocab)
    return np.concatenate([_rows([vocab.speech], vocab), _speech(codes, vocab), _rows([vocab.text], vocab)])


def example(
    kind: str,
    text: list[int],
    codes: np.ndarray,
    vocab: Vocabulary,
    *,
    id: str = "",
    characters: int = 0,
    seconds: float = 0.0,
) -> Example:
    """The whole sequence of an utterance.

    Args:
        kind: one of KINDS.
        text: ids of its text.
        codes: [>= Q, T'].
        vocab: the vocabulary, of Q streams.
        id, characters, seconds: of the utterance.
    """
    before = prompt(kind, text, codes, vocab)
    if kind in ("stt", "text"):
        target = _rows([*text, vocab.end], vocab)
    else:
        target, frames = _speech(codes, vocab), codes.shape[1]
        if frames == len(target):
            target = np.concatenate([target, _rows([vocab.end], vocab)])
        else:
            target[frames, 0] = vocab.end
    tokens, start = np.concatenate([before, target]), len(before)
    return Example(kind, tokens, positions(kind, len(tokens), start, vocab), start, id, characters, seconds)


def positions(kind: str, length: int, start: int, vocab: Vocabulary) -> np.ndarray:
    """Positions [L] float32 of a sequence whose target begins at step `start` (see `Vocabulary.text_step`).

    Aligned, the source starts at 0, and the target's control token, step start - 1, is at 0 again.
    """
    at = np.arange(length, dtype=np.float32)
    if vocab.text_step:
        at[start - 1 :] -= start - 1
        if kind == "tts":
            at[: start - 1] *= vocab.text_step
        elif kind != "speech":
            at[start - 1 :] *= vocab.text_step
    return at


def _rows(ids: list[int], vocab: Vocabulary) -> np.ndarray:
    rows = np.full((len(ids), vocab.streams), EMPTY, dtype=np.int64)
    rows[:, 0] = ids
    return rows


def _speech(codes: np.ndarray, vocab: Vocabulary) -> np.ndarray:
    return delay(codes[: vocab.streams] + np.array(vocab.offsets)[:, None])
