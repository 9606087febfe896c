"""Files of object stores (s3://, gs://, az://, hf://, https://) through fsspec: whole files in and out, ranges for audio."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from audiokd.errors import AudiokdError, StorageError
from audiokd.files import leads_out, say_why, unique

#: what a package has to bring; fsspec has the others itself
PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "hf": "huggingface_hub",
}
_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
_BLOCK = 8 << 20  # bytes that are read at once of a long recording


def is_url(path: object) -> bool:
    """Whether `path` is of an object store, such as s3://bucket/folder."""
    return isinstance(path, str) and _URL.match(path) is not None


def here_only(path: str | os.PathLike[str], what: str) -> None:
    """Refuse an address where only a folder or file of this machine will do: as a path it would be a folder named "s3:".

    Raises:
        AudiokdError: `path` is an address.
    """
    if is_url(path):
        fix = "give a place on this machine, and copy what is written there"
        raise AudiokdError(f"{what} is not written to an object store", where=str(path), fix=fix)


def cache_folder(url: str, version: str = "") -> Path:
    """A folder of this machine for what is fetched of `url`, below $AUDIOKD_CACHE (~/.cache/audiokd by default)."""
    root = Path(os.environ.get("AUDIOKD_CACHE") or Path.home() / ".cache" / "audiokd")
    return root / "objects" / hashlib.sha256(f"{url.rstrip('/')}\n{version}".encode()).hexdigest()[:20]


def exists(url: str) -> bool:
    """Whether there is a file of that name."""
    with _said(url):
        fs, path = _filesystem(url)
        return fs.exists(path)


def list_files(url: str) -> dict[str, str]:
    """Files below a folder, by their names in it, and what changes when they change; nothing where there is no such folder.

    Raises:
        AudiokdError: it cannot be reached, or a name in it would lead out of the folder that the files are fetched to.
    """
    with _said(url):
        fs, path = _filesystem(url)
        fs.invalidate_cache()
        root = path.rstrip("/") + "/"
        found = fs.find(path, detail=True) if fs.exists(path) else {}
        names = {k[len(root) :]: _version(v) for k, v in sorted(found.items()) if k.startswith(root)}
        if bad := next(filter(leads_out, names), None):  # a key may be any text
            raise AudiokdError(f"the name {bad!r} leads out of its folder", where=url, fix="rename it, or leave it out")
        return names


def fetch(url: str, to: Path) -> None:
    """Write the file at `url` to `to`, whole or not at all."""
    to.parent.mkdir(parents=True, exist_ok=True)
    tmp = to.with_name(f".{to.name}.tmp{unique()}")
    try:
        with _said(url):
            fs, path = _filesystem(url)
            fs.get_file(path, str(tmp))
        os.replace(tmp, to)
    except OSError as e:
        say_why(e, to)
        raise
    finally:
        tmp.unlink(missing_ok=True)


def read_many(urls: Iterable[str]) -> list[bytes]:
    """Contents of small files, many requests at a time where the store can."""
    urls = list(urls)
    if not urls:
        return []
    with _said(urls[0]):
        fs, _ = _filesystem(urls[0])
        paths = [fs._strip_protocol(u) for u in urls]
        found = fs.cat(paths) if len(paths) > 1 else {paths[0]: fs.cat_file(paths[0])}
        return [found[p] for p in paths]


def put(file: Path, url: str) -> None:
    """Write a file of this machine to `url`, which is there whole afterwards."""
    with _said(url, StorageError):
        fs, path = _filesystem(url)
        try:
            fs.put_file(str(file), path)
        except FileNotFoundError:  # of a store that has folders
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            fs.put_file(str(file), path)


def remove(url: str) -> None:
    """Delete the file at `url`, if it is there."""
    with _said(url, StorageError):
        fs, path = _filesystem(url)
        with suppress(FileNotFoundError):
            fs.rm_file(path)


def open_range(url: str, offset: int = 0, nbytes: int | None = None) -> BinaryIO:
    """The file at `url`, or `nbytes` of it from `offset` on, to be read.

    Raises:
        OSError: as of a file of this machine.
    """
    fs, path = _filesystem(url)
    try:
        if nbytes is not None:
            import io

            return io.BytesIO(fs.cat_file(path, start=offset, end=offset + nbytes))
        return cast(BinaryIO, fs.open(path, "rb", block_size=_BLOCK, cache_type="readahead"))
    except OSError:
        raise
    except Exception as e:  # each store has errors of its own
        raise OSError(f"{type(e).__name__}: {e}") from e


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as e:
        package = PACKAGES.get(url.split(":")[0], "its package")
        raise AudiokdError(f"{url.split(':')[0]}:// needs {package}", where=url, fix=f"pip install {package}") from e
    except ValueError as e:
        raise AudiokdError(f"no such kind of store: {e}", where=url, fix=f"one of {', '.join(PACKAGES)}, https") from e


def _version(about: dict[str, Any]) -> str:
    known = (
        about.get(k) for k in ("ETag", "etag", "md5Hash", "sha256", "mtime", "LastModified", "last_modified", "created")
    )
    return f"{about.get('size')}:{next((str(k) for k in known if k), '')}"


@contextmanager
def _said(url: str, error: type[AudiokdError] = AudiokdError) -> Iterator[None]:
    """An error in one line for whatever a store raises."""
    try:
        yield
    except AudiokdError:
        raise
    except Exception as e:  # each store has errors of its own
        say_why(e, Path(url))  # of this machine's disk
        what = f"cannot be reached or used: {type(e).__name__}: {' '.join(str(e).split())[:300]}"
        fix = "see to the address, the credentials and the connection, and run the same command again"
        raise error(what, where=url, fix=fix) from e
