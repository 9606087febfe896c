"""s3tokenizer and slamkit: jsonl files of the first stream, as two toolkits for speech language models have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write, jsonl
from audiokd.progress import progress
from audiokd.tokens.reader import StoredCodes, TokenStore


def export_s3tokenizer(store: TokenStore, out: Path) -> None:
    """Write `{"key": id, "code": [T' ids]}` a line: codebook 0.

    That is what the `s3tokenizer` command writes, https://github.com/xingchensong/S3Tokenizer: s3tokenizer/cli.py (its models
    have one codebook).

    Raises:
        AudiokdError: a store of features.
    """
    with progress("export s3tokenizer", len(store), "utt") as bar, atomic_write(out) as f:
        for u in _items(store):
            f.write(jsonl([{"key": u.id, "code": u.codes[0].tolist()}]))
            bar.advance()


def export_slamkit(store: TokenStore, out: Path) -> None:
    """Write `{"units": [...], "duration": [...], "file_name": id}` a line: codebook 0, a run of one code as one unit.

    That is what slamkit's cli/extract_features.py writes and its cli/prepare_tokens.py reads, https://github.com/slp-rl/slamkit:
    slamkit/tokeniser/unit_tokeniser.py (audio_represent, with dedup) and example_data/features.jsonl; `duration` is in frames.

    Raises:
        AudiokdError: a store of features.
    """
    with progress("export slamkit", len(store), "utt") as bar, atomic_write(out) as f:
        for u in _items(store):
            codes = u.codes[0]
            starts = np.flatnonzero(np.diff(codes, prepend=-1))  # no code is -1: the first frame starts a run
            durations = np.diff(starts, append=len(codes))
            row: dict[str, Any] = {"units": codes[starts].tolist(), "duration": durations.tolist(), "file_name": u.id}
            f.write(jsonl([row]))
            bar.advance()


def _items(store: TokenStore):
    for u in store.items():
        if not isinstance(u, StoredCodes):
            raise AudiokdError(f"a store of {store.kind} has no tokens", where=str(store.path), fix="use jsonl")
        yield u
