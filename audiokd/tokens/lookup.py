"""Where each utterance of a complete store is: a sorted table on disk, so that one is found without reading every index.

lookup.npy: [utterances, 2] uint64 in order: the first 8 bytes of blake2b of the id, and the shard's number among the store's
shards, shifted by 40 bits, with the byte offset of its row in index.jsonl. 16 bytes an utterance, mapped, not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write
from audiokd.tokens import layout
from audiokd.tokens.layout import INDEX, LOOKUP

_AT_BITS = 40  # of an offset: an index of a terabyte; 24 are left for 16 million shards


def build_lookup(path: Path, shards: Sequence[str]) -> np.ndarray:
    """The table of the store at `path`, of shards in order. Memory: 32 bytes an utterance."""
    parts = []
    for number, shard in enumerate(shards):
        found = [(_hash(row["id"]), pack(number, at)) for at, row in layout.read_jsonl(path / shard / INDEX)]
        parts.append(np.array(found, dtype="<u8").reshape(-1, 2))
    table = np.concatenate(parts) if parts else np.zeros((0, 2), "<u8")
    return table[np.lexsort((table[:, 1], table[:, 0]))]


def write_lookup(path: Path, shards: Sequence[str]) -> None:
    """Write the table of the store at `path`.

    Raises:
        AudiokdError: an id is in two shards.
    """
    table = build_lookup(path, shards)
    _refuse_twice(path, shards, table)
    with atomic_write(path / LOOKUP) as f:
        np.save(f, table)


def _refuse_twice(path: Path, shards: Sequence[str], table: np.ndarray) -> None:
    """Ids are read only where hashes are equal."""
    same = table[1:, 0] == table[:-1, 0]
    seen: dict[str, str] = {}
    for i in np.flatnonzero(np.append(same, False) | np.append(False, same)) if len(table) else ():
        number, at = unpack(int(table[i, 1]))
        file = path / shards[number] / INDEX
        with open(file, "rb") as f:
            f.seek(at)
            utt_id = layout.parse_row(f.readline(), f"{file} at byte {at}")["id"]
        if utt_id in seen:
            what = f"two utterances have the id {utt_id}: in shard {seen[utt_id]} and in {shards[number]}"
            fix = "make the ids of the input unique and run the same command again: the other shards are kept"
            raise AudiokdError(what, where=str(path), fix=fix)
        seen[utt_id] = shards[number]


def pack(shard: int, at: int) -> int:
    """Shard number and byte offset in one number."""
    return shard << _AT_BITS | at


def unpack(packed: int) -> tuple[int, int]:
    """Shard number and byte offset."""
    return packed >> _AT_BITS, packed & ((1 << _AT_BITS) - 1)


class Lookup:
    """The table of the store at `path`, mapped.

    Raises:
        AudiokdError: the file is there and is no such table of `size` rows.
    """

    def __init__(self, path: Path, size: int):
        file = path / LOOKUP
        try:
            self.table = np.load(file, mmap_mode="r" if size else None, allow_pickle=False)
        except (ValueError, EOFError, SyntaxError) as e:
            raise AudiokdError(f"not readable as .npy ({e})", where=str(file), fix=_REDO) from e
        if self.table.shape != (size, 2) or self.table.dtype != np.dtype("<u8"):
            what = f"{self.table.dtype} {list(self.table.shape)}, uint64 [{size}, 2] expected"
            raise AudiokdError(what, where=str(file), fix=_REDO)

    def find(self, utt_id: str) -> Iterator[int]:
        """Packed places of the ids of this one's hash: of itself, and once in many billions of another."""
        wanted = np.uint64(_hash(utt_id))
        hashes = self.table[:, 0]
        for i in range(int(np.searchsorted(hashes, wanted)), len(hashes)):
            if hashes[i] != wanted:
                return
            yield int(self.table[i, 1])


def _hash(utt_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(utt_id.encode(), digest_size=8).digest(), "little")


_REDO = "delete it: the store is read without it, and the command that made the store writes it again"
