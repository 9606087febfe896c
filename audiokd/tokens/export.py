"""Exporting a token store to what other tools read. Same store, same bytes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiokd.errors import AudiokdError
from audiokd.files import fsync_dir
from audiokd.objects import here_only, is_url
from audiokd.tokens.exports.first_stream import export_s3tokenizer, export_slamkit
from audiokd.tokens.exports.hf import MARK, export_hf
from audiokd.tokens.exports.jsonl import export_jsonl
from audiokd.tokens.exports.kaldi import TABLES, export_kaldi
from audiokd.tokens.exports.kaldi_ark import export_kaldi_ark
from audiokd.tokens.exports.lhotse import export_lhotse
from audiokd.tokens.exports.mert import export_mert
from audiokd.tokens.exports.npz import export_npz
from audiokd.tokens.exports.parquet import export_parquet
from audiokd.tokens.exports.webdataset import export_webdataset
from audiokd.tokens.layout import STORE_JSON, remove_stale_tmp
from audiokd.tokens.reader import TokenStore
from audiokd.tokens.remote import open_store

_FILES = {
    "jsonl": export_jsonl,
    "s3tokenizer": export_s3tokenizer,
    "slamkit": export_slamkit,
    "parquet": export_parquet,
}
#: with the names of the files that such an export has: a folder of these may be replaced
_FOLDERS = {
    "kaldi": (export_kaldi, rf"tokens\.\d+\.txt|feats\.txt|{TABLES}"),
    "kaldi_ark": (export_kaldi_ark, rf"(tokens\.\d+|feats)\.(ark|scp)|{TABLES}"),
    "webdataset": (export_webdataset, r"\d{6,}\.tar"),
    "lhotse": (export_lhotse, r"cuts\.\d{6,}\.jsonl\.gz|(codes|feats)\.\d{6,}\.tar"),
    "npz": (export_npz, r"\d{5,9}\.npz|index\.jsonl"),
}
_SPLITS = ("mert", "hf")  # folders that take several stores, each a split
_MERT = r"\w[\w.]*\.(tsv|codec_\d+)|dict\.codec_\d+\.txt"
_HF = r"README\.md|data|bpe"
FORMATS = (*_FILES, *_FOLDERS, *_SPLITS)


def export_store(
    store: str | os.PathLike[str] | TokenStore,
    out: str | os.PathLike[str],
    to: str,
    bpe: int = 0,
    audio_root: str = "",
    audio_suffix: str = ".wav",
) -> Path:
    """Write all of `store` to `out` in the format `to`; `out` is there when all of it is, and an older export goes.

    Args:
        store: folder of the store, or the open store; for hf and mert also a folder of stores, each a split by its folder's
            name.
        out: a file for jsonl, s3tokenizer, slamkit and parquet, a folder for the others.
        to: one of FORMATS.
        bpe: for hf: vocabulary of a BPE over the first stream's codes; 0 is none.
        audio_root: for mert: folder of the recordings.
        audio_suffix: for mert: an utterance's recording is its id with this behind it.

    Returns:
        `out`.

    Raises:
        AudiokdError: the format is unknown, `out` holds files that are no such export, the store is not complete or
            cannot be told in the format (say, features for s3tokenizer), or a package is missing.
    """
    if to not in FORMATS:
        raise AudiokdError(f"format {to!r} is not known", fix="use " + ", ".join(FORMATS))
    if bpe and to != "hf":
        raise AudiokdError(f"{to} has no BPE", fix="use --to hf")
    if audio_root and to != "mert":
        raise AudiokdError(f"{to} names no recordings", fix="leave --audio_root out, or use --to mert")
    here_only(out, "an export")
    if is_url(store):
        store = open_store(str(store))
    stores = {"train": store} if isinstance(store, TokenStore) else _open(Path(store), to)
    out = Path(out)
    for one in stores.values():
        place, source = out.resolve(), one.path.resolve()
        if place.is_relative_to(source) or source.is_relative_to(place):
            what = "an export cannot go into its store or around it"
            raise AudiokdError(what, where=str(out), fix="give another place")
        if not one.complete:
            fix = "run the command that makes the store to its end first"
            raise AudiokdError("the store is not complete", where=str(one.path), fix=fix)
    store = next(iter(stores.values()))
    if to == "hf":
        _refuse_other_datasets(out)
        with _whole_folder(out, _HF) as folder:
            export_hf(stores, folder, bpe)
        return out
    if to == "mert":
        with _whole_folder(out, _MERT) as folder:
            export_mert(stores, folder, audio_root, audio_suffix)
        return out
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


def _open(path: Path, to: str) -> dict[str, TokenStore]:
    """The store at `path` as the only split, or for a format of splits the stores below it: train first, then by name."""
    names = (
        []
        if (path / STORE_JSON).exists() or to not in _SPLITS
        else [p.parent.name for p in path.glob(f"*/{STORE_JSON}")]
    )
    if not names:
        return {"train": open_store(path)}
    if odd := [n for n in names if not re.fullmatch(r"\w+(\.\w+)*", n)]:
        what = f"{odd[0]!r} cannot be the name of a split"
        raise AudiokdError(what, where=str(path), fix="rename the folder: letters, digits, _ and single dots")
    return {n: open_store(path / n) for n in sorted(names, key=lambda n: (n != "train", n))}


def _refuse_other_datasets(out: Path) -> None:
    """A folder with data/ and README.md may well be somebody's work: only a card of ours says that it may be replaced."""
    card = out / "README.md"
    if out.is_dir() and any(out.iterdir()) and not (card.is_file() and MARK in card.read_text(errors="replace")):
        raise AudiokdError("the place is taken by something else", where=str(out), fix="give a new folder")


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
