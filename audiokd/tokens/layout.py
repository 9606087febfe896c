"""What a token store looks like on disk: file names, dtypes, and how its JSON is read with clear errors."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import unique

FORMAT, VERSION = "audiokd-store", 1
STORE_JSON, SHARD_JSON, COMPLETE_JSON = "store.json", "shard.json", "complete.json"
INDEX, ERRORS, LOOKUP = "index.jsonl", "errors.jsonl", "lookup.npy"
ARRAY = {"codes": "codes.npy", "features": "features.npy"}
#: what numpy has no name for: `meta.dtype` of a store of features says so, features.npy holds the bits as uint16
BFLOAT16 = "bfloat16"
_DAMAGED = "the file is damaged: delete it (of a shard its folder) and run the command that made the store again"
_SHARD_NAME = re.compile(r"[0-9]{5,9}")


def code_dtype(cardinality: list[int]) -> np.dtype:
    """The smallest of uint8, uint16 and uint32 (little endian) that holds every id of the largest codebook.

    Raises:
        AudiokdError: it has more codes than 32 bits can tell apart.
    """
    largest = max(cardinality)
    for dtype in ("u1", "<u2", "<u4"):
        if largest - 1 <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise AudiokdError(f"a codebook of {largest} codes does not fit 32 bits", fix="check `cardinality` of the model")


def as_floats(array: np.ndarray, dtype: str | None) -> np.ndarray:
    """Features as numbers: `array` itself, or float32 of the bits of a store of bfloat16."""
    return (array.astype("<u4") << 16).view("<f4") if dtype == BFLOAT16 else array


def is_shard_name(name: str) -> bool:
    """Whether `name` can name a shard folder: five to nine digits, so it never leaves the store."""
    return _SHARD_NAME.fullmatch(name) is not None


def check_shard_name(name: str) -> str:
    """`name` itself, or an AudiokdError when it is not five to nine digits."""
    if not is_shard_name(name):
        raise AudiokdError(f"{name!r} is not a shard name", fix='shards are named "00000", "00001", ...')
    return name


def shard_folders(path: Path) -> list[str]:
    """Names of all shard folders of the store at `path`, finished or not, in order."""
    with os.scandir(path) as entries:
        return sorted((e.name for e in entries if is_shard_name(e.name) and e.is_dir()), key=lambda n: (int(n), n))


def visible(path: Path) -> list[str]:
    """Names in a folder; what writers are at begins with a dot and is none."""
    return sorted(name for name in os.listdir(path) if not name.startswith("."))


def is_finished(path: Path, shard: str) -> bool:
    """Whether `shard` has its shard.json, which is written last."""
    return (path / shard / SHARD_JSON).is_file()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from `path`; anything else in it is an AudiokdError that names the file."""
    try:
        obj = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as e:
        raise AudiokdError("the file is missing", where=str(path), fix="run `audiokd store verify`") from e
    except ValueError as e:  # bad JSON or bad UTF-8
        raise AudiokdError(f"not readable as JSON ({e})", where=str(path), fix=_DAMAGED) from e
    if not isinstance(obj, dict):
        raise AudiokdError("a JSON object was expected", where=str(path), fix=_DAMAGED)
    return obj


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (byte offset, row) of a jsonl file, one at a time. A bad line is an AudiokdError with `file:line`."""
    at = 0
    try:
        f = open(path, "rb")  # noqa: SIM115 (closed below)
    except FileNotFoundError as e:
        raise AudiokdError("the file is missing", where=str(path), fix="run `audiokd store verify`") from e
    with f:
        for number, line in enumerate(f, 1):
            yield at, parse_row(line, f"{path}:{number}")
            at += len(line)


def parse_row(line: bytes, where: str) -> dict[str, Any]:
    """One jsonl line as a row that has a string `id`.

    Raises:
        AudiokdError: it is something else; `where` (file:line) is named.
    """
    try:
        row = json.loads(line)
    except ValueError as e:
        raise AudiokdError(f"not a JSON line ({e})", where=where, fix=_DAMAGED) from e
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise AudiokdError("the row has no `id`", where=where, fix=_DAMAGED)
    return row


def read_store_json(path: Path) -> dict[str, Any]:
    """store.json of the store at `path`, checked: format, version and kind are ones that this code can read.

    Raises:
        AudiokdError: no such folder, no store, a damaged file, or a store of a later version.
    """
    file = path / STORE_JSON
    if not path.exists():
        raise AudiokdError("no such store", where=str(path), fix="check the path")
    if not file.is_file():
        fix = "give the folder that `audiokd tokenize` or `audiokd extract` wrote"
        raise AudiokdError(f"not a token store: it has no {STORE_JSON}", where=str(path), fix=fix)
    head = read_json(file)
    if head.get("format") != FORMAT:
        raise AudiokdError(f'not a token store: format is {head.get("format")!r}, not "{FORMAT}"', where=str(file))
    version = head.get("version")
    if not isinstance(version, int) or version < 1:
        raise AudiokdError(f"version is {version!r}, not a number from 1", where=str(file), fix=_DAMAGED)
    if version > VERSION:
        fix = "update audiokd, or write the store again with this one"
        raise AudiokdError(f"store of version {version}, this audiokd reads up to {VERSION}", where=str(file), fix=fix)
    if head.get("kind") not in ARRAY or not isinstance(head.get("meta"), dict):
        kinds = " or ".join(ARRAY)
        raise AudiokdError(f"kind must be {kinds}, and meta an object", where=str(file), fix=_DAMAGED)
    return head


def meta_differences(a: dict[str, Any], b: dict[str, Any], name_a: str, name_b: str) -> list[str]:
    """One sentence for each key of two metas that differs: `model_sha256 differs: store 12ab, model 34cd`."""
    absent = "(not given)"
    return [
        f"{k} differs: {name_a} {a.get(k, absent)}, {name_b} {b.get(k, absent)}"
        for k in sorted(a.keys() | b.keys())
        if a.get(k, absent) != b.get(k, absent)
    ]


def remove_stale_tmp(folder: Path) -> None:
    """Delete what a killed writer left in `folder`: the `.<name>.tmp*` files and folders of audiokd.files and StoreWriter.

    A writer may be alive all the same: a folder gets another name first, so that it cannot be moved in with files missing.
    """
    for p in folder.glob(".*.tmp*"):
        with suppress(FileNotFoundError):  # its writer, or another process that cleans up, was faster
            if not p.is_dir():
                p.unlink()
                continue
            taken = p.with_name(f"{p.name}-{unique()}")
            p.rename(taken)
            shutil.rmtree(taken, ignore_errors=True)
