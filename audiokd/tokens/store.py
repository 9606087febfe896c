"""The token store: codes or features of a corpus in a folder that is written shard by shard, atomically.

    store.json       written first: format, version, kind ("codes" | "features") and meta (what made it)
    00000/
      codes.npy      [sum T', Q], frame-major, the smallest unsigned dtype; or features.npy [sum T', D]
      index.jsonl    a row an utterance, in order: id, offset, frames, num_samples, sample_rate, text?, speaker?
      errors.jsonl   only where utterances failed: id, where, error
      shard.json     written last: counts, sha256 of each file, plan, input_sha256. Without it the shard is not there
    00001/ ...
    lookup.npy       where each id is, sorted by hash (tokens/lookup.py)
    complete.json    written when all is done: the shards, totals, and sha256 over store.json and the shard.json files

Nothing in it depends on time, host, worker or path: the same inputs, model and plan give the same bytes. The files are
plain numpy and JSON, so `np.load("00000/codes.npy", mmap_mode="r")` works without audiokd.

    >>> import numpy as np, tempfile
    >>> folder = tempfile.mkdtemp() + "/store"
    >>> writer = StoreWriter(folder, "codes", {"cardinality": [1024], "frame_rate": 50.0})
    >>> codes = np.array([[7, 7, 1023]])
    >>> writer.write_shard("00000", [StoreItem("utt1", codes, num_samples=960, sample_rate=16000)])
    >>> writer.finish(["00000"])
    >>> open_store(folder)["utt1"].codes
    array([[   7,    7, 1023]])
    >>> verify_store(folder)
    []
"""

from __future__ import annotations

from audiokd.tokens.reader import StoredCodes, StoredFeatures, TokenStore, UnknownUtterance
from audiokd.tokens.remote import open_store, open_writer
from audiokd.tokens.verify import verify_store
from audiokd.tokens.writer import StoreItem, StoreWriter

__all__ = [
    "StoreItem",
    "StoreWriter",
    "StoredCodes",
    "StoredFeatures",
    "TokenStore",
    "UnknownUtterance",
    "open_store",
    "open_writer",
    "verify_store",
]
