"""Writing a token store: a kill at any moment leaves whole shards only, and running again gives the same bytes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.ids import is_legal
from audiokd.errors import AudiokdError
from audiokd.files import (
    fsync_dir,
    json_bytes,
    jsonl,
    move_folder,
    say_why,
    sha256_bytes,
    sha256_file,
    synced,
    unique,
    write_json,
)
from audiokd.tokens import checks, layout
from audiokd.tokens.layout import ARRAY, COMPLETE_JSON, ERRORS, FORMAT, INDEX, LOOKUP, SHARD_JSON, STORE_JSON, VERSION
from audiokd.tokens.lookup import write_lookup


@dataclass
class StoreItem:
    """One utterance to write.

    Shape:
        array: [Q, T'] integer ids for a store of codes, [T', D] floating point for a store of features; its bits as uint16 where
            the store's meta says bfloat16.
    """

    id: str
    array: np.ndarray
    num_samples: int
    sample_rate: int
    text: str | None = None
    speaker: str | None = None


class StoreWriter:
    """Creates a token store, or opens an unfinished one to go on.

    Any number of processes, on any machines that share the disk, may write its shards; of two that write one shard, one's
    is there in the end, whole.

    Args:
        path: folder of the store.
        kind: "codes" or "features".
        meta: what made it: sample_rate, frame_rate, frame_size, cardinality (one per codebook), num_codebooks,
            model_sha256, config_sha256, ... A store of features may say feature_dim. No time, host, worker or path.

    Raises:
        AudiokdError: the folder holds a store with other meta (each differing key is named), or is not a store.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str, meta: dict[str, Any]):
        self.path, self.kind = Path(path), kind
        self.meta = checks.checked_meta(kind, meta)
        head = {"format": FORMAT, "version": VERSION, "kind": kind, "meta": self.meta}
        if not (self.path / STORE_JSON).exists():
            taken = self.path.exists() and (not self.path.is_dir() or layout.visible(self.path))
            if (
                taken and not (self.path / STORE_JSON).exists()
            ):  # looked at last: another process may have begun the store
                fix = "give a new or an empty folder"
                raise AudiokdError(f"in the way: it is there and has no {STORE_JSON}", where=str(path), fix=fix)
            write_json(self.path / STORE_JSON, head)
        found = layout.read_store_json(self.path)  # read back: another process may have been first
        differ = layout.meta_differences(found["meta"], self.meta, "store", "model")
        if found["kind"] != kind:
            differ.insert(0, f"kind differs: store {found['kind']}, model {kind}")
        if differ:
            fix = "write to another folder, or delete this store to make it anew"
            raise AudiokdError("the store was made by another model: " + "; ".join(differ), where=str(path), fix=fix)

    def done(self, shard_name: str, input_sha256: str | None = None) -> bool:
        """Whether the shard is finished, and (where `input_sha256` is given) was made from that input.

        Raises:
            AudiokdError: a file that is no shard has its name, or its shard.json is damaged.
        """
        folder = self.path / layout.check_shard_name(shard_name)
        try:
            info = layout.read_json(folder / SHARD_JSON)
        except AudiokdError as e:
            if isinstance(e.__cause__, NotADirectoryError):
                fix = "move it away and run the same command again"
                raise AudiokdError("in the way: a file, not a shard's folder", where=str(folder), fix=fix) from e
            if isinstance(e.__cause__, FileNotFoundError):
                return False
            raise
        if input_sha256 is not None and info.get("input_sha256") != input_sha256:
            return False
        files: dict[str, str] = info.get("sha256") or {}
        return bool(files) and all((folder / f).is_file() for f in files)

    def write_shard(
        self,
        name: str,
        items: Sequence[StoreItem],
        errors: Sequence[dict[str, Any]] = (),
        plan: dict[str, Any] | None = None,
        input_sha256: str | None = None,
        input_ids_sha256: str | None = None,
    ) -> None:
        """Write one shard; it is there when this returns and not a moment before. An old shard of that name goes.

        Args:
            name: "00000", "00001", ...
            items: utterances in order.
            errors: utterances that failed: dicts with id, where, error. Absolute paths are cut to their last part.
            plan: batch_duration, device kind, threads, package versions: what the bytes depend on beside the model.
            input_sha256: of the input shard, so that a changed input is seen by `done`.
            input_ids_sha256: of the ids of the input, where the caller keeps it.

        Raises:
            AudiokdError: an item does not fit the store (`check_item`), or an id comes twice. Nothing is written.
        """
        folder = self.path / layout.check_shard_name(name)
        if folder.is_symlink():
            fix = "it was made by 'audiokd store merge': write to another folder"
            raise AudiokdError("a link to another store's shard", where=str(folder), fix=fix)
        for item in items:
            self.check_item(item)
        seen: set[str] = set()
        for i in [item.id for item in items] + [str(e.get("id")) for e in errors]:
            if i in seen:
                raise AudiokdError(f"utterance {i!r} comes twice", where=f"shard {name}", fix="ids must differ")
            seen.add(i)
        plan = checks.plain({} if plan is None else plan, "plan")
        checks.refuse_private(plan, "plan")
        frames = [self._frames(item) for item in items]
        info: dict[str, Any] = {
            "utterances": len(items),
            "frames": sum(frames),
            "seconds": round(sum(i.num_samples / i.sample_rate for i in items), 3),
            "errors": len(errors),
            "plan": plan,
            "input_sha256": input_sha256,
        }
        if input_ids_sha256 is not None:
            info["input_ids_sha256"] = input_ids_sha256
        info |= {k: self.meta[k] for k in ("model_sha256", "config_sha256") if k in self.meta}
        tables = {INDEX: jsonl(_index_rows(items, frames))}
        if errors:
            tables[ERRORS] = jsonl([_error_row(e) for e in errors])
        for tries_left in range(9, -1, -1):
            try:
                self._write(folder, items, tables, info)
                return
            except FileNotFoundError:
                # a process that finishes the store took the half shard for a dead one's: it saw a whole
                if self.done(name, input_sha256):
                    return
                if not tries_left or not self.path.is_dir():
                    raise

    def _write(self, folder: Path, items: Sequence[StoreItem], tables: dict[str, bytes], info: dict[str, Any]) -> None:
        """Write a folder beside the shard's, then let it be the shard: no writer that dies, and no other, can spoil it."""
        complete = self.path / COMPLETE_JSON
        was_complete = complete.exists()  # asked before the shard: a later one may be by a process that has all shards
        new = folder.with_name(f".{folder.name}.tmp{unique()}")
        file = folder  # as the reader of an error knows it
        try:
            new.mkdir()
            file = folder / ARRAY[self.kind]
            self._write_array(new / file.name, items)
            for name, data in tables.items():
                file = folder / name
                _write(new / name, data)
            info["sha256"] = {name: sha256_file(new / name) for name in (ARRAY[self.kind], *tables)}
            file = folder / SHARD_JSON
            _write(new / SHARD_JSON, json_bytes(info))
            written = partial(_is_same, folder, new, info["sha256"])  # another process was as fast
            if written():
                return
            if was_complete:
                complete.unlink(missing_ok=True)
                fsync_dir(self.path)
            fsync_dir(new)
            move_folder(new, folder, written)
        except BaseException as e:
            say_why(e, file)
            raise
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def check_item(self, item: StoreItem) -> np.ndarray:
        """The item's frames as they go to disk, or an AudiokdError that says why they cannot.

        A stage calls this by itself to send one bad utterance to errors.jsonl and go on.

        Returns:
            [T', Q] in the smallest unsigned dtype, or [T', D] float32/float16.
        """
        for field in (item.id, item.text, item.speaker):
            if field is not None and not checks.is_utf8(field):
                raise AudiokdError(f"{field!r} is not UTF-8 text", where=repr(item.id), fix="rename it")
        if not item.id:
            raise AudiokdError("an utterance has an empty id", fix="give every utterance an id")
        if not is_legal(item.id):
            fix = "percent-encode it: audiokd.data.ids.escape_id"
            raise AudiokdError("an id with whitespace or control characters", where=repr(item.id), fix=fix)
        if item.num_samples < 0 or item.sample_rate <= 0:
            what = f"num_samples {item.num_samples} at {item.sample_rate} Hz cannot be"
            raise AudiokdError(what, where=item.id)
        if self.kind == "codes":
            return checks.check_codes(item.id, np.asarray(item.array), self.meta["cardinality"])
        dim, dtype = self.meta.get("feature_dim"), self.meta.get("dtype")
        return checks.check_features(item.id, np.asarray(item.array), dim, dtype)

    def finish(self, shard_names: Sequence[str]) -> None:
        """Write complete.json: the store holds these shards and no more is to come.

        Raises:
            AudiokdError: one of them is not finished, the folder holds others (say, of another --shard_size), or an id is in two.
        """
        names = sorted(shard_names, key=lambda n: (int(layout.check_shard_name(n)), n))
        if missing := [n for n in names if not self.done(n)]:
            fix = "run the same command again: finished shards are kept"
            raise AudiokdError(f"shards not finished: {', '.join(missing)}", where=str(self.path), fix=fix)
        self.refuse_others(names)
        layout.remove_stale_tmp(self.path)
        complete = completion(self.path, names)
        if self._is_finished(complete):
            return
        while True:
            try:
                write_lookup(self.path, names)
                write_json(self.path / COMPLETE_JSON, complete)
                return
            except FileNotFoundError:  # another that finishes took our file for a dead one's: each cleans up but once
                if not self.path.is_dir():
                    raise

    def refuse_others(self, shard_names: Sequence[str]) -> None:
        """Check, before anything is written, that `finish` will find no shard but these.

        Raises:
            AudiokdError: there are others.
        """
        if extra := sorted(set(self.shards()) - set(shard_names)):
            shown = ", ".join(extra[:10]) + (f" and {len(extra) - 10} more" if len(extra) > 10 else "")
            fix = "they are of another run (another input or --shard_size?): delete them, or write to another folder"
            raise AudiokdError(f"shards that this run has not: {shown}", where=str(self.path), fix=fix)

    def shards(self) -> list[str]:
        """Names of the shards that are there, finished or not."""
        return layout.shard_folders(self.path)

    def _is_finished(self, complete: dict[str, Any]) -> bool:
        """Whether `complete` is what the store says: its indices need not be read again."""
        there = (self.path / LOOKUP).is_file() and (self.path / COMPLETE_JSON).is_file()
        return there and layout.read_json(self.path / COMPLETE_JSON) == complete

    def look_again(self) -> None:
        """See what is there, whoever wrote it. A folder is looked at every time."""

    def totals(self, shard_names: Sequence[str]) -> dict[str, Any]:
        """What complete.json would say of these shards."""
        return completion(self.path, list(shard_names))

    def close(self) -> None:
        """Let go of what is kept for writing."""

    def _frames(self, item: StoreItem) -> int:
        return item.array.shape[1] if self.kind == "codes" else len(item.array)

    def _write_array(self, file: Path, items: Sequence[StoreItem]) -> None:
        """Write frames one utterance after another, one of them in memory."""
        if self.kind == "codes":
            width, dtype = self.meta["num_codebooks"], layout.code_dtype(self.meta["cardinality"])
        else:
            widths, dtypes = {i.array.shape[1] for i in items}, {_stored_dtype(i.array) for i in items}
            if len(widths) > 1 or len(dtypes) > 1:
                what = f"features differ in width ({sorted(widths)}) or dtype ({sorted(map(str, dtypes))})"
                raise AudiokdError(what, where=str(self.path), fix="one store holds one kind of features")
            width = widths.pop() if widths else self.meta.get("feature_dim", 0)
            dtype = dtypes.pop() if dtypes else np.dtype("<f4")
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        with synced(file) as f:
            np.lib.format.write_array_header_1_0(f, header | {"shape": (sum(map(self._frames, items)), int(width))})
            for item in items:
                f.write(self.check_item(item).data)


def _write(file: Path, data: bytes) -> None:
    with synced(file) as f:  # and no folder made: where another process took this one away, all of it is to go
        f.write(data)


def _is_same(folder: Path, new: Path, files: dict[str, str]) -> bool:
    """Whether `folder` already is the shard that `new` is, byte for byte (not by its shard.json alone: it may be damaged)."""
    try:
        same = (folder / SHARD_JSON).read_bytes() == (new / SHARD_JSON).read_bytes()
        return same and all(sha256_file(folder / name) == digest for name, digest in files.items())
    except FileNotFoundError:
        return False


def completion(path: Path, shards: list[str]) -> dict[str, Any]:
    """What complete.json must say of these shards: their names, totals, and a sha256 over all shard.json files."""
    infos = [(path / s / SHARD_JSON).read_bytes() for s in shards]
    parsed = [json.loads(i) for i in infos]
    totals: dict[str, Any] = {k: sum(p[k] for p in parsed) for k in ("utterances", "frames", "errors")}
    if all("seconds" in p for p in parsed):  # not of shards that an older version wrote
        totals["seconds"] = round(sum(p["seconds"] for p in parsed), 3)
    return {
        "shards": shards,
        **totals,
        "store_sha256": sha256_file(path / STORE_JSON),
        "shards_sha256": sha256_bytes(*infos),
    }


def _stored_dtype(array: np.ndarray) -> np.dtype:
    return np.dtype("<f4") if array.dtype == np.float64 else array.dtype.newbyteorder("<")


def _index_rows(items: Sequence[StoreItem], frames: list[int]) -> list[dict[str, Any]]:
    rows, offset = [], 0
    for item, n in zip(items, frames):
        row: dict[str, Any] = {"id": item.id, "offset": offset, "frames": n}
        row |= {"num_samples": int(item.num_samples), "sample_rate": int(item.sample_rate)}
        row |= {k: v for k, v in (("text", item.text), ("speaker", item.speaker)) if v is not None}
        rows.append(row)
        offset += n
    return rows


def _error_row(error: dict[str, Any]) -> dict[str, Any]:
    where, what = str(error.get("where") or ""), str(error.get("error") or "")
    if os.path.isabs(where):  # the same corpus elsewhere gives the same bytes
        short = os.path.basename(where)
        where, what = short, what.replace(where, short)
    row = {"id": str(error.get("id")), "where": where, "error": what}
    return {k: v.encode("utf-8", "backslashreplace").decode() for k, v in row.items()}
