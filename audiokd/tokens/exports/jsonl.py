"""jsonl: one JSON object an utterance, for everything that reads text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiokd.files import atomic_write, jsonl
from audiokd.progress import progress
from audiokd.tokens.reader import TokenStore


def export_jsonl(store: TokenStore, out: Path) -> None:
    """Write `{"id", "codes": [Q lists of T' ids], "num_samples", "sample_rate", "text"?, "speaker"?}` a line.

    `torch.tensor(row["codes"])[:, None]` is [Q, 1, T'], what SpeechTokenizer's `model.encode` gives and `model.decode` takes
    (https://github.com/ZhangXInFD/SpeechTokenizer: example.py; it has no file format of its own).

    A store of features has `features` [T' lists of D numbers] in place of codes; float32 is written so that reading it
    as float32 gives the same number.
    """
    with progress("export jsonl", len(store), "utt") as bar, atomic_write(out) as f:
        for u in store.items():
            row: dict[str, Any] = {"id": u.id, store.kind: u.array.tolist()}
            row |= {"num_samples": u.num_samples, "sample_rate": u.sample_rate}
            row |= {k: v for k, v in (("text", u.text), ("speaker", u.speaker)) if v is not None}
            f.write(jsonl([row]))
            bar.advance()
