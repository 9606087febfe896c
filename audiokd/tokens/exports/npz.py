"""npz: an archive of arrays a shard, for `numpy.load`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.ids import escape_id
from audiokd.files import atomic_write, jsonl
from audiokd.progress import progress
from audiokd.tokens.reader import TokenStore


def export_npz(store: TokenStore, out: Path) -> None:
    """Write 00000.npz, ... (an array [Q, T'] or [T', D] an utterance) and index.jsonl.

    `np.load("00000.npz")[key]` loads one utterance and nothing else, without pickle, in the store's dtype. The key is the
    escaped id; index.jsonl says id, file, key, num_samples, sample_rate, text and speaker of each.
    """
    with progress("export npz", len(store), "utt") as bar, atomic_write(out / "index.jsonl") as index:
        for shard in store.shards:
            name, dtype = f"{shard}.npz", store.array(shard).dtype
            with atomic_write(out / name) as f, zipfile.ZipFile(f, "w", zipfile.ZIP_STORED) as archive:
                for u in store.items(shard):
                    key = _key(u.id)
                    # not np.savez: it wants all arrays of the file at once; the time of an entry is 1980 in both
                    with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as entry:
                        array = np.ascontiguousarray(u.array, dtype=dtype)
                        np.lib.format.write_array(entry, array, version=(1, 0), allow_pickle=False)
                    row: dict[str, Any] = {"id": u.id, "file": name, "key": key, "num_samples": u.num_samples}
                    row |= {"sample_rate": u.sample_rate}
                    row |= {k: v for k, v in (("text", u.text), ("speaker", u.speaker)) if v is not None}
                    index.write(jsonl([row]))
                    bar.advance()


def _key(utt_id: str) -> str:
    """numpy takes both `a` and `a.npy` for the entry a.npy, so an id that ends so hides its dot."""
    key = escape_id(utt_id)
    return key.removesuffix(".npy") + "%2Enpy" if key.endswith(".npy") else key
