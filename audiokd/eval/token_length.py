"""Token length against text length: how many tokens does a character of text cost, and do the two go together?

A speech language model reads and writes both; a tokenizer whose token count follows the text is easier to learn. At a fixed
frame rate it follows the speaking rate alone: both numbers then describe the corpus, and are the same for every tokenizer of
that rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from audiokd.eval.table import RESAMPLES, Summary, summarise_rate


def token_length(tokens: Sequence[int], characters: Sequence[int], seed: int = 0) -> dict[str, Any]:
    """Tokens a character, and Pearson's correlation of the two lengths over utterances.

    Args:
        tokens: frames of each utterance (tokens of one stream; times the streams for all).
        characters: characters of its text, spaces included.
        seed: of the bootstrap.

    Returns:
        tokens_per_character: the sum of tokens over the sum of characters, lower is cheaper; correlation: -1 to 1, None
        where one of the lengths never changes or there are fewer than three utterances. Both as `Summary.as_dict` gives
        it, with a 95% bootstrap interval over utterances. Utterances without text are left out.
    """
    both = np.array([(t, c) for t, c in zip(tokens, characters, strict=True) if c], dtype=np.float64).reshape(-1, 2)
    ratio = summarise_rate(both[:, 0].astype(int).tolist(), both[:, 1].astype(int).tolist())
    n, value = len(both), _correlation(both)
    if value is None:
        return {"tokens_per_character": ratio.as_dict(), "correlation": Summary(None, None, None, n).as_dict()}
    rng = np.random.default_rng(seed)
    drawn = [_correlation(both[rng.integers(0, n, n)]) for _ in range(RESAMPLES)]
    low, high = np.percentile([v for v in drawn if v is not None], [2.5, 97.5])
    correlation = Summary(value, float(low), float(high), n)
    return {"tokens_per_character": ratio.as_dict(), "correlation": correlation.as_dict()}


def _correlation(both: np.ndarray) -> float | None:
    if len(both) < 3 or (both == both[0]).all(0).any():
        return None
    return float(np.corrcoef(both.T)[0, 1])
