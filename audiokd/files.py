"""Writing files so that a kill at any moment leaves the old file, the new file, or nothing: never half of one."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from audiokd.errors import AudiokdError


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for binary writing; it appears under its name only when the block ends without an error.

    tmp file beside it, fsync, os.replace, fsync of the folder. A full disk becomes an AudiokdError that names the file.
    """
    path = Path(path)
    tmp = path.with_name(f".{path.name}.tmp{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(tmp, "wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(tmp, path)
        fsync_dir(path.parent)
    except OSError as e:
        tmp.unlink(missing_ok=True)
        if e.errno in (27, 28, 122):  # EFBIG (a limit on file sizes), ENOSPC, EDQUOT
            raise AudiokdError(
                f"no space left while writing ({e.strerror})",
                where=str(path),
                fix="free some space and run the same command again: what is already written is kept",
            ) from e
        raise
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise


def fsync_dir(path: Path) -> None:
    """Make a rename in `path` survive a power cut (a no-op where folders cannot be opened)."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Atomically write `data` to `path`."""
    with atomic_write(path) as f:
        f.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Atomically write UTF-8 `text` to `path`."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Atomically write `obj` as JSON: sorted keys, two-space indent, newline at the end. Same object, same bytes."""
    write_text(path, json.dumps(obj, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    """One compact JSON object a line, UTF-8, keys in the order given."""
    return b"".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for r in rows)


def gzip_bytes(data: bytes) -> bytes:
    """gzip with mtime 0 and no file name, so that the same data gives the same bytes."""
    return gzip.compress(data, compresslevel=6, mtime=0)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex sha256 of a file's content."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(f)


def _digest(f: BinaryIO) -> str:  # Python 3.10 has no hashlib.file_digest
    h = hashlib.sha256()
    while block := f.read(1 << 20):
        h.update(block)
    return h.hexdigest()


def sha256_bytes(*parts: bytes) -> str:
    """Hex sha256 of the parts one after another."""
    h = hashlib.sha256()
    for p in parts:
        h.update(p)
    return h.hexdigest()
