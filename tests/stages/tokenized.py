"""What the tests of tokenize, extract and decode share: a store's codes, and the bytes of a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from audiokd.tokens.store import open_store


def tree(folder: Path) -> dict[str, str]:
    """Every file below `folder`, hidden ones too, with its sha256."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def codes_of(store: Path | str) -> dict[str, np.ndarray]:
    """Codes [Q, T'] by utterance id, in the store's order."""
    return {item.id: np.asarray(item.array) for item in open_store(str(store)).items()}


def assert_same_codes(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """The same utterances in the same order, code for code."""
    assert list(a) == list(b)
    assert all(np.array_equal(a[i], b[i]) for i in a), [i for i in a if not np.array_equal(a[i], b[i])]
