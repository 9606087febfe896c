"""What a speech language model scores on held-out utterances: bits of its targets, and texts and sounds that it makes.

Bits are teacher-forced, of the whole target with its end token. Every score has a floor, the same with the sources of other
utterances: a model that reads its source does better with the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from audiokd.eval.asr import character_errors, word_errors
from audiokd.eval.table import Summary, summarise_rate
from audiokd.methods.speech_lm.examples import Example, example
from audiokd.methods.speech_lm.model import SpeechLM
from audiokd.methods.speech_lm.pairs import PairSet

#: key in files -> kind of example, and whether its source is another utterance's
CONDITIONS = {
    "tts": ("tts", False),
    "tts_shuffled": ("tts", True),
    "tts_alone": ("speech", False),
    "stt": ("stt", False),
    "stt_shuffled": ("stt", True),
    "stt_alone": ("text", False),
}


def other(i: int, n: int) -> int:
    """The utterance whose source or result stands in for that of utterance `i` of `n` in a floor: half the set away."""
    return (i + max(1, n // 2)) % n


def teacher_forced(lm: SpeechLM, pairs: PairSet, batch_size: int = 16) -> list[dict[str, Any]]:
    r"""Bits of each utterance's speech and text, :math:`-\sum_t \log_2 p(y_t | y_{<t}, x)`.

    `tts` are the bits of the speech tokens given the text, `stt` those of the text given the speech; `_shuffled` given the
    source of another utterance, `_alone` without one. The difference of `_alone` and the plain one is what the model knows
    of one side from the other. With delayed streams, bits are the sum over streams, which `tts_streams` gives one by one.

    Args:
        lm: the model.
        pairs: utterances.
        batch_size: utterances at once; it changes nothing.

    Returns:
        a row an utterance: id, seconds, characters, and bits by the names of CONDITIONS.
    """
    codes = [pairs.store[p.id].array for p in pairs.pairs]
    texts = lm.vocab.encode([p.text for p in pairs.pairs])
    n = len(codes)
    rows: list[dict[str, Any]] = [
        {"id": p.id, "seconds": p.seconds, "characters": len(p.text), "frames": p.frames} for p in pairs.pairs
    ]
    for name, (kind, shuffled) in CONDITIONS.items():
        if (shuffled and n < 2) or (name.endswith("_alone") and not lm.speech["unconditional"]):
            continue
        source = [other(i, n) if shuffled else i for i in range(n)]
        bits = lm.bits([_example(kind, i, j, texts, codes, lm) for i, j in enumerate(source)], batch_size)
        for row, b in zip(rows, bits):
            row[name] = float(b.sum())
            if name == "tts" and lm.vocab.streams > 1:
                row["tts_streams"] = b.tolist()
    return rows


def _example(kind: str, i: int, j: int, texts: list[list[int]], codes: list[np.ndarray], lm: SpeechLM) -> Example:
    """Target of utterance `i`, source of utterance `j`."""
    text, speech = (i, j) if kind in ("stt", "text") else (j, i)
    return example(kind, texts[text], codes[speech], lm.vocab)


def bit_rates(rows: Sequence[dict[str, Any]]) -> dict[str, Summary]:
    """`tts*`: bits per second of audio; `stt*`: bits per character of text. Ratios of sums, over the rows of `teacher_forced`.

    `_gain` is `_shuffled` less the plain one, utterance by utterance, so that its interval is of the difference: how much the
    model reads in its source. 0 is nothing, higher is better.
    """
    found = {}
    for side, size in (("tts", "seconds"), ("stt", "characters")):
        lengths = [r[size] for r in rows]
        for name in (n for n in CONDITIONS if n.startswith(side) and n in rows[0]):
            found[name] = summarise_rate([r[name] for r in rows], lengths)
        if f"{side}_shuffled" in rows[0]:
            found[f"{side}_gain"] = summarise_rate([r[f"{side}_shuffled"] - r[side] for r in rows], lengths)
    return found


def error_rates(references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, Summary]:
    """`wer` and `cer` of normalised texts, and `wer_floor` and `cer_floor`: each text against another's hypothesis.

    `..._clipped` count no utterance's errors beyond its length: a reader that runs on in a loop does not decide the mean.
    """
    found = {}
    n = len(references)
    for floor in (False, True):
        if floor and n < 2:
            continue
        pairs = [(references[i], hypotheses[other(i, n) if floor else i]) for i in range(n)]
        for name, count in (("wer", word_errors), ("cer", character_errors)):
            errors = [count(r, h) for r, h in pairs]
            lengths = [e.length for e in errors]
            found[name + "_floor" * floor] = summarise_rate([e.count for e in errors], lengths)
            clipped = [min(e.count, e.length) for e in errors]
            found[f"{name}_clipped{'_floor' * floor}"] = summarise_rate(clipped, lengths)
    return found
