"""Bit rate of a discrete code: what it costs to send as it is (`audiokd.tokens.stats` has it after entropy coding)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from audiokd.errors import AudiokdError
from audiokd.tokens.stats import store_stats
from audiokd.tokens.store import open_store


def bitrate(frame_rate: float, cardinality: Sequence[int]) -> float:
    r"""Bits a second of fixed-length codes. Lower is cheaper.

    .. math:: f \sum_q \log_2 N_q

    Args:
        frame_rate: frames a second (Hz).
        cardinality: entries of each codebook, one number a codebook.

    Returns:
        bits per second (12.5 Hz with 16384 and seven times 4096 entries is 1225).
    """
    return frame_rate * sum(math.log2(n) for n in cardinality)


def tokens_per_second(frame_rate: float, num_codebooks: int) -> float:
    """Codes a second over all codebooks: what a language model has to predict. Lower is cheaper."""
    return frame_rate * num_codebooks


def store_cost(path: str) -> dict[str, Any]:
    """What the tokens of a store cost: rates in Hz and bits a second, as they are and after entropy coding.

    Raises:
        AudiokdError: it is no store of codes.
    """
    store = open_store(path)
    frame_rate, cardinality = store.meta.get("frame_rate"), store.meta.get("cardinality")
    if not frame_rate or not cardinality:
        raise AudiokdError("has no frame_rate or no cardinality", where=path, fix="give a store of codes")
    stats = store_stats(store)
    return {
        "path": path,
        "frame_rate": frame_rate,
        "cardinality": cardinality,
        "bits_per_second": bitrate(frame_rate, cardinality),
        "entropy_bits_per_second": stats["entropy_bitrate"],
        "tokens_per_second": tokens_per_second(frame_rate, len(cardinality)),
        "codebooks": stats["codebooks"],
    }
