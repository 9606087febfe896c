"""Codes as text for language models: `<|s_12|><|s_7|>...`, and as characters for tools that merge characters (BPE)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from audiokd.errors import AudiokdError

#: Unicode's private use plane 15: one character a code, in no text of any language
FIRST_UNIT, UNITS = 0xF0000, 65_534


def stream_token(stream: int, code: int) -> str:
    """`<|s_12|>` for code 12 of stream 0, `<|s3_12|>` of stream 3."""
    return f"<|s{stream or ''}_{code}|>"


def lm_text(codes: Iterable[int], stream: int = 0) -> str:
    """One stream's codes [T'] as text."""
    return "".join(stream_token(stream, int(c)) for c in codes)


def from_lm_text(text: str) -> np.ndarray:
    """The codes [T'] int64 of stream 0 whose `lm_text` is `text`.

    Raises:
        AudiokdError: there is something else in it.
    """
    codes = re.findall(r"<\|s_(\d+)\|>", text)
    if lm_text(map(int, codes)) != text:
        raise AudiokdError("text holds something else than codes of stream 0", where=text[:80])
    return np.array([int(c) for c in codes], dtype=np.int64)


def units(codes: np.ndarray) -> str:
    """One stream's codes [T'] as a character each."""
    return (np.asarray(codes) + FIRST_UNIT).astype("<u4").tobytes().decode("utf-32-le")


def from_units(text: str) -> np.ndarray:
    """The codes [T'] int64 whose `units` are `text`."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64) - FIRST_UNIT
