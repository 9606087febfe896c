"""Checking a token store from top to bottom: every byte against its sha256, every row against the frames."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from audiokd import objects
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.files import sha256_file
from audiokd.progress import progress
from audiokd.tokens import layout
from audiokd.tokens.checks import is_finite
from audiokd.tokens.layout import ARRAY, COMPLETE_JSON, ERRORS, INDEX, LOOKUP, SHARD_JSON, STORE_JSON
from audiokd.tokens.lookup import Lookup, build_lookup
from audiokd.tokens.remote import RemoteStore, open_store
from audiokd.tokens.writer import completion

_CHUNK = 1 << 20  # frames looked at in one go


def verify_store(path: str | os.PathLike[str]) -> list[str]:
    """All that is wrong with the store at `path`, one sentence each; an empty list says that it is sound.

    Finds: a changed byte in any file, missing and surplus files, unfinished shards, rows that do not add up, codes out
    of their codebook, ids that come twice, counts that disagree with shard.json and complete.json.

    Raises:
        AudiokdError: `path` is not a store at all.
    """
    if objects.is_url(path):
        path = RemoteStore(str(path)).fetch_all()
    path = Path(path)
    head = layout.read_store_json(path)
    shards = layout.shard_folders(path)
    problems: list[str] = []
    seen: dict[str, str] = {}
    with progress("verify", len(shards), "shards") as bar:
        for shard in shards:
            problems += _shard(path, shard, head, seen)
            bar.advance()
    known = {STORE_JSON, COMPLETE_JSON, LOOKUP, *shards}
    strange = sorted(p.name for p in path.iterdir() if p.name not in known and not p.name.startswith("."))
    problems += [f"{name}: is no part of a store" for name in strange]
    return problems + _complete(path, shards) + ([] if problems else _lookup(path, shards))


def _shard(path: Path, shard: str, head: dict, seen: dict[str, str]) -> list[str]:
    folder = path / shard
    if not layout.is_finished(path, shard):
        return [f"{shard}: unfinished ({SHARD_JSON} is missing): run the command that makes the store again"]
    try:
        info = layout.read_json(folder / SHARD_JSON)
        hashes = dict(info["sha256"])
    except (AudiokdError, KeyError, TypeError, ValueError) as e:
        return [f"{shard}/{SHARD_JSON}: damaged ({e})"]
    problems = [f"{shard}/{f}: not listed in {SHARD_JSON}" for f in (ARRAY[head["kind"]], INDEX) if f not in hashes]
    for name in sorted(hashes):
        if Path(name).name != name or not (folder / name).is_file():
            problems.append(f"{shard}/{name}: missing")
        elif sha256_file(folder / name) != hashes[name]:
            problems.append(f"{shard}/{name}: sha256 differs from {SHARD_JSON}: the file was changed or damaged")
    for p in sorted(folder.iterdir()):
        if p.name not in hashes and p.name != SHARD_JSON and not p.name.startswith("."):
            problems.append(f"{shard}/{p.name}: a file that {SHARD_JSON} does not list")
    try:
        problems += [f"{shard}/{p}" for p in _content(folder, head, info, seen)]
    except (AudiokdError, KeyError, TypeError, ValueError, EOFError, SyntaxError, OSError) as e:
        if not problems:  # else it only says again that a file is damaged or missing
            problems.append(f"{shard}: cannot be read ({e})")
    return problems


def _content(folder: Path, head: dict, info: dict, seen: dict[str, str]) -> Iterator[str]:
    name, meta = ARRAY[head["kind"]], head["meta"]
    rows, offset, seconds = 0, 0, 0.0
    for rows, (_, row) in enumerate(layout.read_jsonl(folder / INDEX), 1):
        if row["offset"] != offset:
            yield f"{INDEX}:{rows}: {row['id']} starts at frame {row['offset']}, {offset} expected"
        offset = row["offset"] + row["frames"]
        seconds += row["num_samples"] / row["sample_rate"]
        yield from _id_seen(row["id"], folder.name, f"{INDEX}:{rows}", seen)
    failed = 0
    if (folder / ERRORS).is_file():
        for failed, (_, row) in enumerate(layout.read_jsonl(folder / ERRORS), 1):
            yield from _id_seen(row["id"], folder.name, f"{ERRORS}:{failed}", seen)
    said: list[tuple[str, float]] = [("utterances", rows), ("frames", offset), ("errors", failed)]
    if "seconds" in info:
        said.append(("seconds", round(seconds, 3)))
    for key, count in said:
        if info.get(key) != count:
            yield f"{SHARD_JSON}: says {info.get(key)} {key}, {count} found"
    for key in ("model_sha256", "config_sha256"):
        if info.get(key) != meta.get(key):
            yield f"{SHARD_JSON}: {key} is {info.get(key)}, the store's is {meta.get(key)}"
    try:
        array = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    except ValueError:  # no frames at all cannot be mapped
        array = np.load(folder / name, allow_pickle=False)
    if array.ndim != 2 or len(array) != offset:
        yield f"{name}: shape {list(array.shape)}, {INDEX} adds up to {offset} frames"
    elif head["kind"] == "codes":
        yield from _codes(array, name, meta["cardinality"])
    elif not is_finite(array, meta.get("dtype")):
        yield f"{name}: holds NaN or infinity"


def _codes(array: np.ndarray, name: str, cardinality: list[int]) -> Iterator[str]:
    if array.shape[1] != len(cardinality) or array.dtype != layout.code_dtype(cardinality):
        want = f"{len(cardinality)} codebooks of {layout.code_dtype(cardinality)}"
        yield f"{name}: {array.shape[1]} codebooks of {array.dtype}, {want} expected"
        return
    top = np.zeros(len(cardinality), np.int64)
    for i in range(0, len(array), _CHUNK):
        top = np.maximum(top, array[i : i + _CHUNK].max(axis=0))
    for q, (highest, size) in enumerate(zip(top.tolist(), cardinality)):
        if highest >= size:
            yield f"{name}: code {highest} in codebook {q}, which has ids 0..{size - 1}"


def _id_seen(utt_id: str, shard: str, place: str, seen: dict[str, str]) -> Iterator[str]:
    if utt_id in seen:
        yield f"{place}: {utt_id} is also in {seen[utt_id]}"
    else:
        seen[utt_id] = f"{shard}/{place}"


def missing_of(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> list[str]:
    """What of an input a store has not, and what it has that the input has not, one sentence each; also ids that failed.

    Args:
        path: the store.
        utterances: of the input.

    Raises:
        AudiokdError: `path` is not a store.
    """
    store = open_store(path)
    left, failed = set(store), {row["id"]: row for row in store.errors()}
    problems = []
    for utt in utterances:
        if utt.id in left:
            left.remove(utt.id)
        elif utt.id in failed:
            problems.append(f"{utt.id}: failed: {failed[utt.id].get('error')} ({utt.where})")
        else:
            problems.append(f"{utt.id}: is in the input and not in the store ({utt.where})")
    return problems + [f"{i}: is in the store and not in the input" for i in sorted(left)]


def _lookup(path: Path, shards: list[str]) -> list[str]:
    """An older version's store has no lookup, and one that is not complete yet."""
    if not ((path / LOOKUP).is_file() and (path / COMPLETE_JSON).is_file()):
        return []
    try:
        table = Lookup(path, sum(int(layout.read_json(path / s / SHARD_JSON)["utterances"]) for s in shards)).table
        same = np.array_equal(table, build_lookup(path, shards))
    except (AudiokdError, ValueError, KeyError, TypeError) as e:
        return [f"{LOOKUP}: cannot be checked ({e})"]
    return [] if same else [f"{LOOKUP}: does not say where the utterances are: delete it"]


def _complete(path: Path, shards: list[str]) -> list[str]:
    file = path / COMPLETE_JSON
    if not file.is_file():
        return [f"{COMPLETE_JSON}: missing: the run that makes this store has not ended"]
    try:
        said, found = layout.read_json(file), completion(path, [s for s in shards if layout.is_finished(path, s)])
    except (AudiokdError, ValueError, KeyError, TypeError) as e:
        return [f"{COMPLETE_JSON}: cannot be checked ({e})"]
    differ = [f"{COMPLETE_JSON}: {d}" for d in layout.meta_differences(said, found, "file", "shards on disk")]
    if not differ and file.read_bytes() != (json.dumps(found, indent=2, sort_keys=True) + "\n").encode():
        differ = [f"{COMPLETE_JSON}: changed by hand"]
    return differ
