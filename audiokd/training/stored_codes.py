"""Codes that a teacher gave of whole utterances, cut to crops: a token store that `audiokd tokenize` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiokd.data.audio import load_at
from audiokd.data.crops import duration_of
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError, AudiokdError
from audiokd.nn.weights import weights_sha256
from audiokd.teachers.codes import CodeTeacher
from audiokd.tokens.reader import StoredCodes
from audiokd.tokens.remote import open_store

#: seconds by which the audio may differ from what was tokenized: rounding of durations
TOLERANCE_S = 0.02
#: least share of an utterance's codes that are to be the teacher's own: another device has near ties, other sound nearly none
SAME = 0.9


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

    def check_teacher(self, teacher: CodeTeacher, name: str, utterances: Sequence[Utterance]) -> None:
        """That the codes are `teacher`'s, of this audio: its weights by their hash, and some of the utterances by their codes.

        Args:
            teacher: the tokenizer that the store is said to be of.
            name: its folder or hub id.
            utterances: of which eight are encoded.

        Raises:
            AudiokdError: the store is another model's (both hashes are named), or an utterance has other codes.
        """
        mine = weights_sha256(teacher.net)
        if mine != self.model_sha256:
            what = f"the store was made by model {self.model_sha256[:12]}, the teacher is {mine[:12]}"
            raise AudiokdError(what, where=f"{self.store.path}, {name}", fix="tokenize with this teacher")
        for u in utterances[:: -(-len(utterances) // 8)]:
            try:
                wav = torch.from_numpy(load_at(u, self.sample_rate))
            except AudioError:  # training leaves it out, and says so
                continue
            said = teacher.targets({"wav": wav[None]})["codes"][0].cpu().numpy()
            stored = self._codes(u.id)
            n = min(said.shape[1], stored.shape[1])
            same = float((said[:, :n] == stored[:, :n]).mean())
            if same < SAME:
                what = f"{u.id}: {same:.0%} of the stored codes are what the teacher says of this audio"
                where = f"{u.where or u.path}, {self.store.path}"
                raise AudiokdError(what, where=where, fix="tokenize the same audio")

    def targets(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """As of `CodeTeacher`, of crops from `starts_s` [B] seconds on (the nearest frame) of utterances `ids` [B]: `codes`
        [B, Q, T'], zeros past the `code_lengths` [B] that there are."""
        ids, wav = batch["ids"], batch["wav"]
        frames = -(-round(wav.shape[-1] * self.frame_rate) // self.sample_rate)
        out = torch.zeros(len(ids), len(self.cardinality), frames, dtype=torch.long)
        lengths = torch.zeros(len(ids), dtype=torch.long)
        for b, (utt_id, start_s) in enumerate(zip(ids, batch["starts_s"])):
            first = round(start_s * self.frame_rate)
            part = self._codes(utt_id)[:, first : first + frames]
            lengths[b] = part.shape[1]
            out[b, :, : part.shape[1]] = torch.from_numpy(part)
        return {"codes": out.to(wav.device), "code_lengths": lengths.to(wav.device)}

    def _codes(self, utt_id: str) -> np.ndarray:
        utt = self.store[utt_id]
        assert isinstance(utt, StoredCodes)
        return utt.codes
