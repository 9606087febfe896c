"""kaldi_ark: binary Kaldi archives with their scp, for Kaldi, k2, lhotse and kaldiio. Needs kaldi_native_io."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write
from audiokd.progress import progress
from audiokd.tokens.exports.kaldi import Tables
from audiokd.tokens.reader import TokenStore


def export_kaldi_ark(store: TokenStore, out: Path) -> None:
    """Write tokens.<q>.ark and .scp (int vectors, one archive a codebook), or feats.ark and .scp (float matrices [T', D]).

    Also the tables of the kaldi export; sorted as there. An scp names its archive without a folder: use
    it from within the export's folder (`cd out; copy-int-vector scp:tokens.0.scp ark,t:-`). float16 becomes float32.

    Raises:
        AudiokdError: kaldi_native_io is missing, or the folder's path has a comma.
    """
    kaldi = need_kaldi_native_io("kaldi_ark")
    folder = os.path.abspath(out)
    if "," in folder or "\n" in folder:
        fix = "export to another folder, and move it"
        raise AudiokdError("Kaldi cannot write to a path with a comma in it", where=folder, fix=fix)
    codes = store.kind == "codes"
    names = [f"tokens.{q}" for q in range(store.meta["num_codebooks"])] if codes else ["feats"]
    writer = kaldi.Int32VectorWriter if codes else kaldi.FloatMatrixWriter
    try:
        with progress("export kaldi_ark", len(store), "utt") as bar, ExitStack() as stack:
            arks = [stack.enter_context(writer(f"ark,scp:{folder}/{n}.ark,{folder}/{n}.scp.full")) for n in names]
            tables = stack.enter_context(Tables(out))
            for utt_id in sorted(store, key=str.encode):
                u = store[utt_id]
                rows = u.array if codes else [np.ascontiguousarray(u.array, dtype=np.float32)]
                for ark, row in zip(arks, rows):
                    ark.write(utt_id, row.tolist() if codes else row)
                tables.add(u)
                bar.advance()
    except RuntimeError as e:  # its C++ part says no more than this, also of a full disk
        raise AudiokdError(f"kaldi_native_io could not write: {e}", where=folder, fix="is the disk full?") from e
    for name in names:
        _shorten(out, name)


def _shorten(out: Path, name: str) -> None:
    """name.scp of what kaldi_native_io wrote, where each line has the whole path of the archive."""
    full = out / f"{name}.scp.full"
    with open(full, "rb") as f, atomic_write(out / f"{name}.scp") as g:
        for line in f:
            g.write(b"%b %b.ark:%b" % (line.split(b" ", 1)[0], name.encode(), line.rsplit(b":", 1)[1]))
    full.unlink()
    with open(out / f"{name}.ark", "rb") as f:
        os.fsync(f.fileno())


def need_kaldi_native_io(format: str) -> Any:
    """The module kaldi_native_io.

    Raises:
        AudiokdError: it is not installed; `format` is named.
    """
    try:
        import kaldi_native_io
    except ImportError as e:
        fix = "pip install 'audiokd[exports]'"
        raise AudiokdError(f"{format} needs the package kaldi_native_io", fix=fix) from e
    return kaldi_native_io
