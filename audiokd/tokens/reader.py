"""Reading a token store: lazily, through mmap, shard by shard; nothing is ever written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.tokens import layout
from audiokd.tokens.layout import ARRAY, COMPLETE_JSON, ERRORS, INDEX, LOOKUP, SHARD_JSON
from audiokd.tokens.lookup import Lookup, pack, unpack

_OPEN_SHARDS = 64  # an mmap holds a file descriptor, and 1024 of those are a usual limit


@dataclass(frozen=True)
class StoredCodes:
    """One utterance of a store of codes. Shape: `codes` [Q, T'] int64; `num_samples` at `sample_rate`."""

    id: str
    codes: np.ndarray
    num_samples: int
    sample_rate: int
    text: str | None = None
    speaker: str | None = None

    @property
    def array(self) -> np.ndarray:
        """`codes`, under the name that stores of both kinds share."""
        return self.codes


@dataclass(frozen=True)
class StoredFeatures:
    """One utterance of a store of features. Shape: `features` [T', D] float32 or float16 (of a store of bfloat16: float32)."""

    id: str
    features: np.ndarray
    num_samples: int
    sample_rate: int
    text: str | None = None
    speaker: str | None = None

    @property
    def array(self) -> np.ndarray:
        """`features`, under the name that stores of both kinds share."""
        return self.features


class TokenStore:
    """A store of codes or features opened for reading: a mapping from utterance id to what is stored.

    Iterating gives ids in store order, `items()` gives the utterances, both one shard at a time. A look-up by id reads a few
    pages of a complete store's lookup.npy and one row; of a store that is still written the first one reads every index
    once. Codes stay on disk until asked for. Shards without shard.json are not there. A store can
    be pickled (it is opened again), so data loader workers may hold one.

    Args:
        path: folder of the store.

    Raises:
        AudiokdError: the folder is not a store, is a newer version, or misses a shard that complete.json lists.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        head = layout.read_store_json(self.path)
        self.kind: str = head["kind"]
        self.meta: dict[str, Any] = head["meta"]
        folders = layout.shard_folders(self.path)
        self.shards: list[str] = [s for s in folders if layout.is_finished(self.path, s)]
        self.unfinished: list[str] = [s for s in folders if not layout.is_finished(self.path, s)]
        self.complete: bool = (self.path / COMPLETE_JSON).is_file()
        if self.complete:
            listed = layout.read_json(self.path / COMPLETE_JSON).get("shards", [])
            if missing := sorted(set(listed) - set(self.shards)):
                fix = f"run the command that made the store again, or delete {COMPLETE_JSON} to read what is left"
                raise AudiokdError(
                    f"{COMPLETE_JSON} lists shards that are not there: {', '.join(missing)}", where=str(path), fix=fix
                )
        self._where: dict[str, int] | None = None  # id -> place of its index row, where there is no lookup
        self._lookup: Lookup | None = None
        self._len: int | None = None
        self._mmaps: dict[str, np.ndarray] = {}  # of random access; streaming opens and drops one at a time

    def __reduce__(self):
        return TokenStore, (self.path,)

    def __repr__(self) -> str:
        return f"TokenStore({str(self.path)!r}, kind={self.kind!r}, {len(self)} utterances, {len(self.shards)} shards)"

    def __len__(self) -> int:
        if self._len is None:
            self._len = sum(int(self.shard_info(s)["utterances"]) for s in self.shards)
        return self._len

    def __contains__(self, utt_id: object) -> bool:
        return isinstance(utt_id, str) and self._find(utt_id) is not None

    def __iter__(self) -> Iterator[str]:
        for shard in self.shards:
            for row in self.rows(shard):
                yield row["id"]

    def __getitem__(self, utt_id: str) -> StoredCodes | StoredFeatures:
        found = self._find(utt_id)
        if found is None:
            raise self._unknown(utt_id)
        shard, row = found
        array = self._mmaps.get(shard)
        if array is None:
            for oldest in list(self._mmaps)[: max(0, len(self._mmaps) + 1 - _OPEN_SHARDS)]:
                self._mmaps.pop(oldest, None)  # None: another thread was first
            array = self._mmaps[shard] = self._mapped(shard)
        return self._utterance(shard, row, array)

    def items(self, shard: str | None = None) -> Iterator[StoredCodes | StoredFeatures]:
        """Yield every utterance in store order, or those of one `shard`. Memory: one utterance."""
        for name in self.shards if shard is None else [shard]:
            array = self._mapped(name)
            for row in self.rows(name):
                yield self._utterance(name, row, array)

    def rows(self, shard: str) -> Iterator[dict[str, Any]]:
        """Yield the index rows of `shard`: id, offset, frames, num_samples, sample_rate, text?, speaker?."""
        for _, row in layout.read_jsonl(self.path / shard / INDEX):
            yield row

    def array(self, shard: str) -> np.ndarray:
        """All frames of `shard`, read-only through mmap. Shape: [sum T', Q] or [sum T', D], in the dtype on disk (of a store of
        bfloat16 they are float32, in memory).

        Raises:
            AudiokdError: the file is missing, or is no such array.
        """
        return layout.as_floats(self._mapped(shard), self.meta.get("dtype"))

    def _mapped(self, shard: str) -> np.ndarray:
        file = self.path / shard / ARRAY[self.kind]
        try:
            try:
                array = np.load(file, mmap_mode="r", allow_pickle=False)
            except ValueError:  # nothing to map: a shard in which every utterance failed
                array = np.load(file, allow_pickle=False)
        except FileNotFoundError as e:
            raise AudiokdError("the file is missing", where=str(file), fix=_REDO) from e
        except (ValueError, EOFError, SyntaxError) as e:
            raise AudiokdError(f"not readable as .npy ({e})", where=str(file), fix=_REDO) from e
        if array.ndim != 2:
            raise AudiokdError(f"2 axes expected, {array.ndim} found", where=str(file), fix=_REDO)
        return array

    def shard_info(self, shard: str) -> dict[str, Any]:
        """shard.json of `shard`: utterances, frames, errors, sha256 of each file, plan, input_sha256, ..."""
        return layout.read_json(self.path / shard / SHARD_JSON)

    def errors(self, shard: str | None = None) -> list[dict[str, Any]]:
        """Rows of errors.jsonl (id, where, error) of all shards, or of one."""
        files = [self.path / s / ERRORS for s in (self.shards if shard is None else [shard])]
        return [row for f in files if f.is_file() for _, row in layout.read_jsonl(f)]

    def _utterance(self, shard: str, row: dict[str, Any], array: np.ndarray) -> StoredCodes | StoredFeatures:
        try:
            start, frames = int(row["offset"]), int(row["frames"])
            num_samples, sample_rate = int(row["num_samples"]), int(row["sample_rate"])
        except (KeyError, TypeError, ValueError) as e:
            raise AudiokdError(
                f"the index row is damaged ({e})", where=str(self.path / shard / INDEX), fix=_REDO
            ) from e
        if start < 0 or frames < 0 or start + frames > len(array):
            what = f"frames {start}..{start + frames} of {row['id']} lie outside the {len(array)} there are"
            raise AudiokdError(what, where=str(self.path / shard), fix=_REDO)
        part = array[start : start + frames]
        rest = (num_samples, sample_rate, row.get("text"), row.get("speaker"))
        if self.kind == "codes":
            return StoredCodes(row["id"], np.ascontiguousarray(part.T, dtype=np.int64), *rest)
        return StoredFeatures(row["id"], np.array(layout.as_floats(part, self.meta.get("dtype"))), *rest)

    def _find(self, utt_id: str) -> tuple[str, dict[str, Any]] | None:
        """Shard and index row of an utterance."""
        if not (self.complete and (self.path / LOOKUP).is_file()):
            packed = self._ids().get(utt_id)
            return None if packed is None else self._row(packed)
        if self._lookup is None:
            self._lookup = Lookup(self.path, len(self))
        rows = [self._row(packed) for packed in self._lookup.find(utt_id)]
        found = [r for r in rows if r[1]["id"] == utt_id]
        if rows and not found:  # 64 bits of a hash lead here
            what = f"{rows[0][1]['id']} stands where {LOOKUP} says that {utt_id} is"
            raise AudiokdError(what, where=str(self.path / rows[0][0] / INDEX), fix="run `audiokd store verify`")
        if len(found) > 1:
            raise self._twice(utt_id, found[0][0], found[1][0])
        return found[0] if found else None

    def _row(self, packed: int) -> tuple[str, dict[str, Any]]:
        number, at = unpack(packed)
        if number >= len(self.shards):
            raise AudiokdError("it names a shard that is not there", where=str(self.path / LOOKUP), fix=_REDO)
        shard = self.shards[number]
        file = self.path / shard / INDEX
        with open(file, "rb") as f:
            f.seek(at)
            return shard, layout.parse_row(f.readline(), f"{file} at byte {at}")

    def _twice(self, utt_id: str, a: str, b: str) -> AudiokdError:
        what = f"{utt_id} is in shard {a} and again in {b}"
        return AudiokdError(what, where=str(self.path), fix="run `audiokd store verify` to see all")

    def _ids(self) -> dict[str, int]:
        if self._where is None:
            where: dict[str, int] = {}
            for number, shard in enumerate(self.shards):
                for at, row in layout.read_jsonl(self.path / shard / INDEX):
                    if row["id"] in where:
                        raise self._twice(row["id"], self.shards[unpack(where[row["id"]])[0]], shard)
                    where[row["id"]] = pack(number, at)
            self._where = where
        return self._where

    def _unknown(self, utt_id: str) -> AudiokdError:
        for row in self.errors():
            if row["id"] == utt_id:
                what = f"{utt_id!r} failed when the store was written: {row.get('error')}"
                return UnknownUtterance(what, where=row.get("where") or str(self.path), fix="mend it and run again")
        note = "" if self.complete else " (the store is not complete yet)"
        return UnknownUtterance(f"no utterance {utt_id!r}{note}", where=str(self.path), fix="check the id")


class UnknownUtterance(AudiokdError, KeyError):
    """The store has no utterance of that id. Also a KeyError."""


_REDO = "delete the shard's folder and run the command that made the store again"
