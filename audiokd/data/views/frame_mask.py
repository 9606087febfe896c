"""Masks over the tokens of a clip: spans as wav2vec 2.0 draws them (fairseq, compute_mask_indices), or single tokens."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

MaskKind: TypeAlias = Literal["block", "uniform", "random"]
MIN_SPANS = 2


def draw_mask(
    rng: np.random.Generator, tokens: int, kind: MaskKind = "block", share: float = 0.65, length: int = 5
) -> np.ndarray:
    """Which of `tokens` tokens are hidden, Bool [tokens].

    Args:
        rng: what draws.
        tokens: of the clip.
        kind: block: spans of `length` tokens; uniform: of 2 to 2 `length`; random: single tokens. Spans may overlap, so that
            0.65 and 5 hide about half of 250 tokens. As officially, no span of a block mask begins at the last `length`.
        share: of the tokens that the spans would hide without overlap; for single tokens that they do hide.
        length: of a span, tokens.
    """
    mask = np.zeros(tokens, dtype=bool)
    if kind == "random":
        mask[rng.permutation(tokens) < tokens * share] = True
        return mask
    spans = max(MIN_SPANS, int(share * tokens / length + rng.random()))
    if kind == "uniform":
        lengths = rng.integers(2, 2 * length + 1, size=spans)
    else:
        lengths = np.full(spans, length)
    shortest = int(lengths.min())
    if tokens - shortest <= spans:  # a clip of few tokens
        shortest = max(0, tokens - spans - 1)
    spans = min(spans, tokens - shortest)
    for start, n in zip(rng.choice(tokens - shortest, spans, replace=False), lengths):
        mask[start : start + n] = True
    return mask
