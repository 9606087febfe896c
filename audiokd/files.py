"""Writing files so that a kill at any moment leaves the old file, the new file, or nothing: never half of one."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from audiokd.errors import AudiokdError, StorageError


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for binary writing; it appears under its name only when the block ends without an error.

    tmp file beside it, fsync, os.replace, fsync of the folder. A full or read-only disk becomes an
    AudiokdError that names the file.
    """
    path = Path(path)
    # a name has 255 bytes at most, and the tmp file's is longer
    name = path.name if len(os.fsencode(path.name)) < 200 else "long"
    tmp = path.with_name(f".{name}.tmp{unique()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with synced(tmp) as f:
            yield f
        os.replace(tmp, path)
        fsync_dir(path.parent)
    except BaseException as e:
        with suppress(OSError):  # a folder that may not be written: the error on its way says so
            tmp.unlink(missing_ok=True)
        say_why(e, path)
        raise


@contextmanager
def synced(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for binary writing, in a folder that is there; it is on the disk when the block ends."""
    with open(path, "wb") as f:
        yield f
        f.flush()
        os.fsync(f.fileno())


def move_folder(new: Path, path: Path, keep: Callable[[], bool] = lambda: False) -> None:
    """Make the folder `new` be `path`, at one moment; a folder that is there goes just before, unless `keep()` then says not.

    Any number of processes on any machines that share the disk may do so for one `path`: one of their folders is there in
    the end, never a mixture.

    Raises:
        FileNotFoundError: `new` is gone.
    """
    while True:
        try:
            os.rename(new, path)
            break
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if keep():
            return
        old = path.with_name(f".{path.name}.tmp{unique()}")
        with suppress(FileNotFoundError):  # another process took it away
            os.rename(path, old)
        shutil.rmtree(old, ignore_errors=True)
    fsync_dir(path.parent)


def unique() -> str:
    """A suffix that no other writer has, in this process, on this machine, or on another that shares the disk."""
    return secrets.token_hex(6)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], last: str = "config.json") -> Iterator[Path]:
    """A folder to write files in; they appear in `path` when the block ends without an error, `last` after all others.

    A kill leaves what was there, or the new files without `last` or with it: a reader that asks for `last` never takes half of
    a folder for whole. Files of other names in `path` are left. A full disk becomes an AudiokdError that names the folder.

    Args:
        path: folder, made where it is not.
        last: the file without which the others are nothing.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise AudiokdError("in the way: a file, not a folder", where=str(path), fix="give another folder")
    is_new = not path.exists()
    for stale in path.glob(".new.tmp*"):  # of a killed run
        shutil.rmtree(stale, ignore_errors=True)
    tmp = path / f".new.tmp{unique()}"  # inside: `path` may be a disk of its own
    try:
        tmp.mkdir(parents=True)
        yield tmp
        for file in tmp.rglob("*"):
            if file.is_file():
                with open(file, "rb") as f:
                    os.fsync(f.fileno())
        (path / last).unlink(missing_ok=True)
        fsync_dir(path)
        for file in sorted(tmp.iterdir(), key=lambda f: (f.name == last, f.name)):
            if file.name == last:
                fsync_dir(path)
            if file.is_dir():
                shutil.rmtree(path / file.name, ignore_errors=True)
            os.replace(file, path / file.name)
        fsync_dir(path)
    except BaseException as e:
        say_why(e, path)
        raise
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
        if is_new and path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def say_why(e: BaseException, path: Path) -> None:
    """A StorageError in place of the error of a full or read-only disk, which safetensors words its own way.

    Raises:
        StorageError: `path` could not be written for such a reason; any other error is let be.
    """
    found = re.search(r"os error (\d+)\b", str(e)) if type(e).__name__ == "SafetensorError" else None
    number = int(found[1]) if found else getattr(e, "errno", None)
    if number in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
        raise StorageError(
            f"no space left while writing ({os.strerror(number)})",
            where=str(path),
            fix="free some space and run the same command again: what is already written is kept",
        ) from e
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        fix = "give a folder that you may write to, or make this one so and run the same command again"
        raise StorageError(f"cannot be written ({os.strerror(number)})", where=str(path), fix=fix) from e


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


def leads_out(name: str) -> bool:
    """Whether `name`, such as an utterance id, would leave the folder that it is joined to."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Atomically write `data` to `path`."""
    with atomic_write(path) as f:
        f.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Atomically write UTF-8 `text` to `path`."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Atomically write `obj` as JSON: sorted keys, two-space indent, newline at the end. Same object, same bytes."""
    write_bytes(path, json_bytes(obj))


def json_bytes(obj: Any) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(obj, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


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
