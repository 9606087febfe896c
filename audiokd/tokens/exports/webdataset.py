"""webdataset: a tar per shard, for training with `webdataset.WebDataset("{000000..000123}.tar")`."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np

from audiokd.data.ids import escape_id
from audiokd.files import atomic_write
from audiokd.progress import progress
from audiokd.tokens.reader import TokenStore


def export_webdataset(store: TokenStore, out: Path) -> None:
    """Write 000000.tar, ... of `<key>.codes.npy` [Q, T'] (or `<key>.features.npy`), `<key>.json`, `<key>.txt`.

    The arrays keep the dtype of the store; `.txt` is there where the text is known; the json holds the id, num_samples,
    sample_rate and speaker. A shard with no utterance gives no tar, as webdataset refuses an empty one.
    """
    number = 0
    with progress("export webdataset", len(store), "utt") as bar:
        for shard in store.shards:
            if not store.shard_info(shard)["utterances"]:
                continue
            dtype = store.array(shard).dtype
            with atomic_write(out / f"{number:06d}.tar") as f, tarfile.open(fileobj=f, mode="w", format=_TAR) as tar:
                for u in store.items(shard):
                    key = escape_key(u.id)
                    head = {"id": u.id, "num_samples": u.num_samples, "sample_rate": u.sample_rate}
                    if u.speaker is not None:
                        head["speaker"] = u.speaker
                    _add(tar, f"{key}.{store.kind}.npy", _npy(u.array.astype(dtype)))
                    _add(tar, f"{key}.json", json.dumps(head, ensure_ascii=False).encode())
                    if u.text is not None:
                        _add(tar, f"{key}.txt", u.text.encode())
                    bar.advance()
            number += 1


def escape_key(utt_id: str) -> str:
    """`utt_id` as a key: webdataset ends it at the first dot and slashes would be folders, so both are escaped too.

    >>> escape_key("book/ch.1 a")
    'book%2Fch%2E1%20a'
    """
    return escape_id(utt_id, more="./")


_TAR = tarfile.GNU_FORMAT


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # mtime, uid and gid are 0 and names empty: the same bytes everywhere
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
