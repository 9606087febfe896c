"""What the language model learns from: the utterances of a token store that have a text. Reads no codes."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from audiokd.data.kaldi import read_data_dir
from audiokd.errors import AudiokdError
from audiokd.tokens.reader import TokenStore
from audiokd.tokens.remote import open_store


@dataclass(frozen=True)
class Pair:
    """An utterance of a store: its id, its text, the frames of its codes, and the seconds of its audio."""

    id: str
    text: str
    frames: int
    seconds: float


@dataclass(frozen=True)
class PairSet:
    """The utterances of one store that have a text and frames; `without_text` of the others do not."""

    store: TokenStore
    pairs: list[Pair]
    without_text: int

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of it."""
        lines = "\n".join(f"{p.id}\t{p.text}" for p in self.pairs)
        return {
            "utterances": len(self.pairs),
            "without_text": self.without_text,
            "model_sha256": self.store.meta.get("model_sha256", ""),
            "texts_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        }


def read_pairs(path: str, text: str = "plain", text_dirs: Sequence[str] = (), allow_pipes: bool = False) -> PairSet:
    """The utterances of the token store at `path` with their texts.

    Args:
        path: store of codes.
        text: "plain" (see `plain_text`) or "raw".
        text_dirs: Kaldi data dirs whose texts take the place of the store's.
        allow_pipes: let shell commands in the wav.scp of a data dir stand (none is run).

    Raises:
        AudiokdError: no store, a store of features, or no utterance with a text.
    """
    store = open_store(path)
    if store.kind != "codes":
        raise AudiokdError(f"a store of {store.kind} holds no tokens", where=path, fix="give one of 'audiokd tokenize'")
    if not store.complete:
        raise AudiokdError("the store is not complete", where=path, fix="run 'audiokd tokenize' to its end first")
    texts = {u.id: u.text for d in text_dirs for u in read_data_dir(d, allow_pipes)}
    pairs, without = [], 0
    for shard in store.shards:
        for row in store.rows(shard):
            written = texts.get(row["id"]) or row.get("text") or ""
            told = as_told(written, text)
            if told and row["frames"]:
                pairs.append(Pair(row["id"], told, row["frames"], row["num_samples"] / row["sample_rate"]))
            else:
                without += 1
    if not pairs:
        fix = "tokenize a data dir that has a text file, or name one: --text_dirs (audiokd fit: --data.text_dirs)"
        raise AudiokdError(f"none of {len(store)} utterances has a text", where=path, fix=fix)
    return PairSet(store, pairs, without)


def as_told(text: str, form: str) -> str:
    """A text as the model gets it: `form` "plain" is `plain_text`, "raw" has single spaces and nothing else done to it."""
    return plain_text(text) if form == "plain" else " ".join(text.split())


def plain_text(text: str) -> str:
    """Lower case; letters, marks, digits and apostrophes between letters stay, everything else is a space."""
    lower = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in lower)
    return " ".join(w for w in (word.strip("'") for word in kept.split()) if w)
