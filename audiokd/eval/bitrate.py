"""Bit rate of a discrete code: what it costs to send as it is (`audiokd.tokens.stats` has it after entropy coding)."""

from __future__ import annotations

import math
from collections.abc import Sequence


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
