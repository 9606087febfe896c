"""lhotse: cuts with a field `codes`, in lhotse's Shar layout, for `CutSet.from_shar(in_dir=...)` and `cut.load_codes()`.

    cuts.000000.jsonl.gz   a cut a line, text and speaker as its supervision; its recording has a length and a rate, and no audio
    codes.000000.tar       its arrays [T', Q]; `feats.000000.tar`, [T', D], of a store of features

Format: https://lhotse.readthedocs.io/en/latest/shar.html
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.shar import member_name
from audiokd.files import atomic_write, jsonl
from audiokd.progress import progress
from audiokd.tokens.reader import StoredCodes, StoredFeatures, TokenStore

#: kind of store -> field of the cuts; `features` is taken by lhotse's own manifest
FIELD = {"codes": "codes", "features": "feats"}


def export_lhotse(store: TokenStore, out: Path) -> None:
    """Write a Shar shard for each shard of the store that has utterances.

    Time is the first axis because lhotse cuts along it: `cut.truncate(...).load_codes()` gives the codes of that stretch. A
    cut's frame_shift is its duration / T', so that the whole cut is all T' frames whichever way the model rounds.

    Raises:
        AudiokdError: an id that cannot be the name of a tar's member (.., a leading slash).
    """
    field, number = FIELD[store.kind], 0
    with progress("export lhotse", len(store), "utt") as bar:
        for shard in store.shards:
            if not store.shard_info(shard)["utterances"]:  # lhotse takes a shard without cuts for a damaged one
                continue
            name, dtype = f"{number:06d}", store.array(shard).dtype
            with (
                atomic_write(out / f"cuts.{name}.jsonl.gz") as f,
                gzip.GzipFile("", "wb", compresslevel=6, fileobj=f, mtime=0) as cuts,
                atomic_write(out / f"{field}.{name}.tar") as g,
                tarfile.open(fileobj=g, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                for u in store.items(shard):
                    array = np.ascontiguousarray(u.array.T if store.kind == "codes" else u.array, dtype=dtype)
                    manifest = _manifest(u, array)
                    cuts.write(jsonl([_cut(u, field, manifest)]))
                    npy = io.BytesIO()
                    np.lib.format.write_array(npy, array, version=(1, 0), allow_pickle=False)
                    for suffix, data in (("npy", npy.getvalue()), ("json", jsonl([manifest]))):
                        member = tarfile.TarInfo(f"{member_name(u.id)}.{suffix}")
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
                    bar.advance()
            number += 1


def _manifest(u: StoredCodes | StoredFeatures, array: np.ndarray) -> dict[str, Any]:
    duration = u.num_samples / u.sample_rate
    where = {"storage_type": "shar", "storage_path": "", "storage_key": "", "shape": list(array.shape)}
    return {"array": where, "temporal_dim": 0, "frame_shift": duration / max(1, len(array)), "start": 0}


def _cut(u: StoredCodes | StoredFeatures, field: str, manifest: dict[str, Any]) -> dict[str, Any]:
    duration = u.num_samples / u.sample_rate
    span: dict[str, Any] = {"start": 0, "duration": duration, "channel": 0}
    said = {k: v for k, v in (("text", u.text), ("speaker", u.speaker)) if v is not None}
    supervisions = [{"id": u.id, "recording_id": u.id, **span, **said}] if said else []
    recording = {"id": u.id, "sources": [], "sampling_rate": u.sample_rate, "num_samples": u.num_samples}
    recording |= {"duration": duration, "channel_ids": [0]}
    head = {"id": u.id, **span, "supervisions": supervisions, "recording": recording}
    return head | {"custom": {field: manifest}, "type": "MonoCut"}
