"""What the tests of the token store share: a meta, mu-law codes, and writing a whole store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from audiokd.tokens.store import StoreItem, StoreWriter

META = {
    "sample_rate": 16000,
    "frame_rate": 100.0,
    "frame_size": 160,
    "cardinality": [256, 256],
    "num_codebooks": 2,
    "model_sha256": "a" * 64,
    "config_sha256": "b" * 64,
}
PLAN = {"batch_duration": 60.0, "device": "cpu", "threads": 1, "packages": {"numpy": "2"}}


def mu_law(x: np.ndarray) -> np.ndarray:
    """8 bit mu-law (ITU-T G.711 curve) of samples in [-1, 1]: ids 0..255."""
    y = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    return np.clip(np.round((y + 1) / 2 * 255), 0, 255).astype(np.int64)


def tree(folder: Path) -> dict[str, str]:
    """Every file below `folder`, hidden ones too, with its sha256."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def write_store(path: Path, items: list[StoreItem], per_shard: int = 4, errors=(), meta=META, kind="codes") -> Path:
    """A finished store of `items`; `errors` go to the last shard."""
    writer = StoreWriter(path, kind, meta)
    names = [f"{i:05d}" for i in range(max(1, -(-len(items) // per_shard)))]
    for i, name in enumerate(names):
        last = name == names[-1]
        part = items[i * per_shard : (i + 1) * per_shard]
        writer.write_shard(name, part, errors if last else (), PLAN, input_sha256=f"{i:064x}")
    writer.finish(names)
    return path


def write_one_shard(path: Path, i: int, item: StoreItem) -> str:
    """Shard `i` of a store, of one utterance, as a worker process does it."""
    name = f"{i:05d}"
    StoreWriter(path, "codes", META).write_shard(name, [item], plan=PLAN, input_sha256=f"{i:064x}")
    return name
