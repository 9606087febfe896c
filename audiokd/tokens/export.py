"""Exporting a token store to what other tools read: jsonl, kaldi, parquet, webdataset. Same store, same bytes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiokd.errors import AudiokdError
from audiokd.files import fsync_dir
from audiokd.tokens.exports.jsonl import export_jsonl
from audiokd.tokens.exports.kaldi import export_kaldi
from audiokd.tokens.exports.parquet import export_parquet
from audiokd.tokens.exports.webdataset import export_webdataset
from audiokd.tokens.layout import remove_stale_tmp
from audiokd.tokens.reader import TokenStore, open_store

_FILES = {"jsonl": export_jsonl, "parquet": export_parquet}
_FOLDERS = {
    "kaldi": (export_kaldi, r"tokens\.\d+\.txt|feats\.txt|utt2num_frames|text|utt2spk"),
    "webdataset": (export_webdataset, r"\d{6,}\.tar"),
}
FORMATS = (*_FILES, *_FOLDERS)


def export_store(store: str | os.PathLike[str] | TokenStore, out: str | os.PathLike[str], to: str) -> Path:
    """Write all of `store` to `out` in the format `to`; `out` is there when all of it is, and an older export goes.

    Args:
        store: folder of the store, or the open store.
        out: a file for jsonl and parquet, a folder for kaldi and webdataset.
        to: "jsonl", "kaldi", "parquet" or "webdataset".

    Returns:
        `out`.

    Raises:
        AudiokdError: the format is unknown, `out` holds files that are no such export, the store is not complete or
            cannot be told in the format (say, a space in an id for kaldi), or pyarrow is missing for parquet.
    """
    if to not in FORMATS:
        raise AudiokdError(f"format {to!r} is not known", fix="use " + ", ".join(FORMATS))
    store = store if isinstance(store, TokenStore) else open_store(store)
    out = Path(out)
    if out.resolve().is_relative_to(store.path.resolve()) or store.path.resolve().is_relative_to(out.resolve()):
        raise AudiokdError("an export cannot go into its store or around it", where=str(out), fix="give another place")
    if not store.complete:
        fix = "run the command that makes the store to its end first"
        raise AudiokdError("the store is not complete", where=str(store.path), fix=fix)
    if to in _FILES:
        if out.is_dir():
            raise AudiokdError(f"{to} is one file, and this is a folder", where=str(out), fix="add a file name")
        for stale in out.parent.glob(f".{out.name}.tmp*"):  # of an export that was killed
            stale.unlink(missing_ok=True)
        _FILES[to](store, out)
    else:
        write, own = _FOLDERS[to]
        with _whole_folder(out, own) as folder:
            write(store, folder)
    return out


@contextmanager
def _whole_folder(out: Path, own: str) -> Iterator[Path]:
    """Give a new folder beside `out`; it takes the place of `out` when the block ends without an error."""
    building, old = out.with_name(f".{out.name}.export"), out.with_name(f".{out.name}.export-old")
    if out.exists():
        foreign = [] if out.is_dir() else [out.name]
        if out.is_dir():
            remove_stale_tmp(out)
            foreign = sorted(p.name for p in out.iterdir() if not re.fullmatch(own, p.name))
        if foreign:
            what = f"the place is taken: {', '.join(foreign[:3])} would be lost"
            raise AudiokdError(what, where=str(out), fix="give a new folder")
    for leftover in (building, old):
        shutil.rmtree(leftover, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        yield building
        if out.exists():
            os.replace(out, old)
        os.replace(building, out)
        fsync_dir(out.parent)
    finally:
        for leftover in (building, old):
            shutil.rmtree(leftover, ignore_errors=True)
