"""Stores in an object store: shards are written here and sent when they are whole; what is read is fetched once and kept.

An object is there whole or not at all, and shard.json goes last, as on a disk; so the same holds of kills and of two workers.
"""

from __future__ import annotations

import json
import os
import shutil
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiokd import objects
from audiokd.errors import AudiokdError
from audiokd.files import unique, write_bytes
from audiokd.tokens import layout
from audiokd.tokens.layout import ARRAY, COMPLETE_JSON, ERRORS, INDEX, LOOKUP, SHARD_JSON, STORE_JSON
from audiokd.tokens.lookup import unpack
from audiokd.tokens.reader import TokenStore
from audiokd.tokens.writer import StoreItem, StoreWriter

_TOGETHER = 256  # files of a shard's size that are asked for at once


class RemoteWriter(StoreWriter):
    """As `StoreWriter`, to an address such as s3://bucket/tokens. A shard lies on this machine until it is sent.

    Args:
        url: of the store's folder.
        kind, meta: as of `StoreWriter`.
    """

    def __init__(self, url: str, kind: str, meta: dict[str, Any]):
        self.url = url.rstrip("/")
        here = objects.cache_folder(self.url, f"written by {unique()}")  # machines may share a home
        weakref.finalize(self, shutil.rmtree, here, ignore_errors=True)
        head = f"{self.url}/{STORE_JSON}"
        begun = objects.exists(head)
        if begun:
            objects.fetch(head, here / STORE_JSON)
        super().__init__(here, kind, meta)
        if not begun:
            objects.put(here / STORE_JSON, head)
        self._files: set[str] = set()
        self._infos: dict[str, dict[str, Any]] | None = (
            None  # not looked at by who only writes: it takes a request a shard
        )

    def look_again(self) -> None:
        """See what is there, whoever wrote it."""
        self._files = set(objects.list_files(self.url))
        names = [n for n in self._files if n.endswith(f"/{SHARD_JSON}") and layout.is_shard_name(n.partition("/")[0])]
        found = objects.read_many(f"{self.url}/{n}" for n in names)
        self._infos = {n.partition("/")[0]: json.loads(data) for n, data in zip(names, found)}

    def done(self, shard_name: str, input_sha256: str | None = None) -> bool:
        """Whether the shard was there when last looked at, and (where `input_sha256` is given) was made from that input."""
        if self._infos is None:
            self.look_again()
        info = (self._infos or {}).get(layout.check_shard_name(shard_name))
        if info is None or (input_sha256 is not None and info.get("input_sha256") != input_sha256):
            return False
        files = info.get("sha256") or {}
        return bool(files) and all(f"{shard_name}/{f}" in self._files for f in files)

    def write_shard(self, name: str, items: Sequence[StoreItem], *args: Any, **kwargs: Any) -> None:
        """As of `StoreWriter`; the shard is in the object store when this returns, and not a moment before."""
        super().write_shard(name, items, *args, **kwargs)
        folder = self.path / name
        for marker in (COMPLETE_JSON, f"{name}/{SHARD_JSON}"):
            objects.remove(f"{self.url}/{marker}")
        info = layout.read_json(folder / SHARD_JSON)
        for file in (*sorted(info["sha256"]), SHARD_JSON):
            objects.put(folder / file, f"{self.url}/{name}/{file}")
            self._files.add(f"{name}/{file}")
        if self._infos is not None:
            self._infos[name] = info
        shutil.rmtree(folder)

    def finish(self, shard_names: Sequence[str]) -> None:
        """As of `StoreWriter`; fetches each shard's shard.json and index.jsonl for the totals and the look-up."""
        self.look_again()
        self._fetch([f"{shard}/{SHARD_JSON}" for shard in self._infos or ()])
        if {LOOKUP, COMPLETE_JSON} <= self._files:
            self._fetch([COMPLETE_JSON, LOOKUP])
            if self._is_finished(self.totals(sorted(shard_names))):
                return
        self._fetch([f"{shard}/{INDEX}" for shard in self._infos or ()])
        super().finish(shard_names)
        for file in (LOOKUP, COMPLETE_JSON):
            objects.put(self.path / file, f"{self.url}/{file}")

    def shards(self) -> list[str]:
        """Names of the shards that were finished when last looked at."""
        if self._infos is None:
            self.look_again()
        return sorted(self._infos or ())

    def totals(self, shard_names: Sequence[str]) -> dict[str, Any]:
        """As of `StoreWriter`."""
        files = [f"{shard}/{SHARD_JSON}" for shard in shard_names]
        self._fetch([f for f in files if not (self.path / f).is_file()])
        return super().totals(shard_names)

    def _fetch(self, files: list[str]) -> None:
        for i in range(0, len(files), _TOGETHER):
            some = files[i : i + _TOGETHER]
            for file, data in zip(some, objects.read_many(f"{self.url}/{f}" for f in some)):
                write_bytes(self.path / file, data)

    def close(self) -> None:
        """Delete what lies on this machine."""
        shutil.rmtree(self.path, ignore_errors=True)


class RemoteStore(TokenStore):
    """As `TokenStore`, at an address such as s3://bucket/tokens. A shard's files are fetched when they are first needed, and kept.

    Raises:
        AudiokdError: as of `TokenStore`; or the address cannot be reached.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        here = objects.cache_folder(self.url, "read")
        files = objects.list_files(self.url)
        if STORE_JSON not in files:
            fix = "give the address that `audiokd tokenize` or `audiokd extract` wrote to"
            raise AudiokdError(f"not a token store: it has no {STORE_JSON}", where=self.url, fix=fix)
        small = [n for n in files if n in (STORE_JSON, COMPLETE_JSON, LOOKUP) or n.endswith(f"/{SHARD_JSON}")]
        for name in (COMPLETE_JSON, LOOKUP):
            if name not in files:
                (here / name).unlink(missing_ok=True)
        for shard in layout.shard_folders(here) if here.is_dir() else []:
            if f"{shard}/{SHARD_JSON}" not in files:
                shutil.rmtree(here / shard)
        for name, data in zip(small, objects.read_many(f"{self.url}/{n}" for n in small)):
            file = here / name
            if file.is_file() and file.read_bytes() == data:
                continue
            if file.name == SHARD_JSON and file.parent.exists():  # written anew since
                shutil.rmtree(file.parent)
            write_bytes(file, data)
        super().__init__(here)

    def __reduce__(self):
        return RemoteStore, (self.url,)

    def rows(self, shard: str) -> Iterator[dict[str, Any]]:
        self._need(shard, INDEX)
        return super().rows(shard)

    def errors(self, shard: str | None = None) -> list[dict[str, Any]]:
        for name in self.shards if shard is None else [shard]:
            if ERRORS in self.shard_info(name)["sha256"]:
                self._need(name, ERRORS)
        return super().errors(shard)

    def fetch_all(self) -> Path:
        """Fetch what is not here yet; the folder in which the whole store lies then."""
        for shard in self.shards:
            for file in self.shard_info(shard)["sha256"]:
                if Path(file).name == file:  # verify says so of another
                    self._need(shard, file)
        return self.path

    def _row(self, packed: int) -> tuple[str, dict[str, Any]]:
        self._need(self.shards[unpack(packed)[0]], INDEX)
        return super()._row(packed)

    def _ids(self) -> dict[str, int]:
        for shard in self.shards:
            self._need(shard, INDEX)
        return super()._ids()

    def _mapped(self, shard: str) -> np.ndarray:
        self._need(shard, ARRAY[self.kind])
        return super()._mapped(shard)

    def _need(self, shard: str, file: str) -> None:
        if not (self.path / shard / file).is_file():
            objects.fetch(f"{self.url}/{shard}/{file}", self.path / shard / file)


def open_writer(path: str | os.PathLike[str], kind: str, meta: dict[str, Any]) -> StoreWriter:
    """A writer of the store at `path`, a folder or an address."""
    return RemoteWriter(str(path), kind, meta) if objects.is_url(path) else StoreWriter(path, kind, meta)


def open_store(path: str | os.PathLike[str]) -> TokenStore:
    """Open the token store at `path`, a folder or an address such as s3://bucket/tokens, for reading. See `TokenStore`."""
    return RemoteStore(str(path)) if objects.is_url(path) else TokenStore(path)
