"""Codes that a teacher gave of whole utterances, cut to crops: a token store that `audiokd tokenize` wrote."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiokd.data.crops import duration_of
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError, AudiokdError
from audiokd.tokens.reader import StoredCodes
from audiokd.tokens.remote import open_store

#: seconds by which the audio may differ from what was tokenized: rounding of durations
TOLERANCE_S = 0.02


class StoredCodeTeacher:
    """What `CodeTeacher` says, read from a store.

    Args:
        path: token store.

    Raises:
        AudiokdError: it is none.
    """

    def __init__(self, path: str):
        self.store = open_store(path)
        if self.store.kind != "codes":
            raise AudiokdError(f"a store of {self.store.kind}, not of codes", where=path, fix="audiokd tokenize")
        meta = self.store.meta
        self.sample_rate: int = meta["sample_rate"]
        self.frame_rate: float = meta["frame_rate"]
        self.cardinality: list[int] = list(meta["cardinality"])
        self.model_sha256: str = meta["model_sha256"]

    def check(self, utterances: Sequence[Utterance]) -> None:
        """That the store has the codes of all of `utterances`, and of as much sound as they hold.

        Raises:
            AudiokdError: an utterance is lacking or lasts longer or shorter than what was tokenized; both are named.
        """
        lacking = [u for u in utterances if u.id not in self.store]
        if lacking:
            what = f"no codes of {len(lacking)} of {len(utterances)} utterances, {lacking[0].id} first"
            raise AudiokdError(what, where=str(self.store.path), fix="tokenize the same INPUT with 'audiokd tokenize'")
        rows = {r["id"]: r for shard in self.store.shards for r in self.store.rows(shard)}
        for u in utterances:
            row = rows[u.id]
            stored = row["num_samples"] / row["sample_rate"]
            try:
                there = u.duration_s if u.duration_s is not None else duration_of(u)
            except AudioError:  # training leaves it out, and says so
                continue
            if abs(stored - there) > TOLERANCE_S:
                what = f"{u.id} lasts {there:.3f} s, and {stored:.3f} s of it were tokenized"
                raise AudiokdError(what, where=f"{u.where}, {self.store.path}", fix="tokenize the same audio")

    def crops(self, ids: Sequence[str], starts_s: Sequence[float], frames: int) -> tuple[Tensor, Tensor]:
        """Codes [B, Q, frames] from `starts_s` on, the nearest frame, and how many there are of each, [B]; zeros past them."""
        out = torch.zeros(len(ids), len(self.cardinality), frames, dtype=torch.long)
        lengths = torch.zeros(len(ids), dtype=torch.long)
        for b, (utt_id, start_s) in enumerate(zip(ids, starts_s)):
            utt = self.store[utt_id]
            assert isinstance(utt, StoredCodes)
            first = round(start_s * self.frame_rate)
            part = utt.codes[:, first : first + frames]
            lengths[b] = part.shape[1]
            out[b, :, : part.shape[1]] = torch.from_numpy(part)
        return out, lengths
