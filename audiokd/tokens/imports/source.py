"""What a reader of another format hands over: its utterances one at a time, and what identifies its files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.tokens.writer import StoreItem


@dataclass(frozen=True)
class Source:
    """Utterances of another format.

    Attributes:
        items: an utterance, or of one that cannot be had a dict with id, where and error; [Q, T'] codes or [T', D] features.
        files: those that were named, whose content stands for the source.
        sample_rate: Hz of the first utterance, None where nothing says.
        total: how many utterances there are; infinity where only reading all of it would tell.
    """

    items: Iterator[StoreItem | dict[str, Any]]
    files: list[Path]
    sample_rate: int | None = None
    total: float = math.inf


def sha256_of(files: list[Path]) -> str:
    """sha256 over the contents of `files`, one after another: the same wherever they lie."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def whole_codes(array: np.ndarray) -> np.ndarray:
    """Codes that a format keeps as floats, as int64; a number that is none stays, for the store to refuse the utterance."""
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.rint(array)).all():
        return array.astype(np.int64)
    return array
