"""Importing codes or features that other tools wrote: a token store made of lhotse cuts or Kaldi archives."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import sha256_bytes
from audiokd.objects import here_only
from audiokd.progress import progress
from audiokd.tokens.imports.kaldi import read_kaldi
from audiokd.tokens.imports.lhotse import read_lhotse
from audiokd.tokens.imports.source import Source, sha256_of
from audiokd.tokens.writer import StoreItem, StoreWriter

FORMATS = ("lhotse", "kaldi")


def import_store(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    format: str,
    kind: str = "codes",
    cardinality: int | list[int] = 0,
    sample_rate: int = 0,
    frame_rate: float = 0.0,
    field: str = "",
    shard_size: int = 1000,
) -> dict[str, Any]:
    """Write to `out` a store of what `source` holds, a shard at a time. It has no model's hash: its meta says

    imported_from (the format) and source_sha256 (of the named files' contents: all archives of a Kaldi folder, an scp with
    the archive beside it, all of a Shar folder, or a cuts file without the arrays that it points to).

    Args:
        source: what `read_lhotse` or `read_kaldi` reads.
        out: folder of the store; one that was not finished goes on.
        format: "lhotse" or "kaldi".
        kind: "codes" or "features".
        cardinality: of codes, the size of each codebook, or of all.
        sample_rate: Hz of the recordings; 0 is what the source says.
        frame_rate: Hz of the codes; 0 leaves it out of the meta.
        field: of lhotse's cuts, the field to read.
        shard_size: utterances a shard.

    Returns:
        utterances, errors and frames of the store.

    Raises:
        AudiokdError: the source is no such thing or damaged, its cardinality or a rate is missing, an id comes twice, or
            `out` holds another store.
    """
    if format not in FORMATS:
        raise AudiokdError(f"format {format!r} is not known", fix="use " + ", ".join(FORMATS))
    here_only(out, "an import")
    path = Path(source)
    if not path.exists():
        raise AudiokdError("no such file or folder", where=str(path), fix="check the path")
    if kind == "codes" and not cardinality:
        fix = "give --cardinality, such as 1024, or [1024,1024] for each codebook its own"
        raise AudiokdError("nothing says how many codes a codebook has", where=str(path), fix=fix)
    if field and format != "lhotse":
        raise AudiokdError(f"{format} has no fields", fix="leave --field out")
    num_codebooks = len(cardinality) if isinstance(cardinality, list) else 0
    if format == "lhotse":
        found = read_lhotse(path, kind, sample_rate, field, num_codebooks)
    else:
        found = read_kaldi(path, kind, sample_rate, frame_rate)
    items, meta = _with_meta(found, kind, cardinality)
    meta |= {"imported_from": format, "source_sha256": sha256_of(found.files)}
    meta |= {"sample_rate": sample_rate or found.sample_rate} if sample_rate or found.sample_rate else {}
    meta |= {"frame_rate": frame_rate} if frame_rate else {}
    writer = StoreWriter(out, kind, meta)
    return _write(writer, items, shard_size, found.total)


def _with_meta(source: Source, kind: str, cardinality: int | list[int]) -> tuple[Iterator[Any], dict[str, Any]]:
    """The items, and what the first of them says of all: the number of codebooks, or of features."""
    items, before = source.items, []
    first = None
    for one in items:
        before.append(one)
        if isinstance(one, StoreItem) and one.array.size:
            first = one
            break
    rest = itertools.chain(before, items)
    if kind == "features":
        return rest, {} if first is None else {"feature_dim": int(first.array.shape[-1])}
    if isinstance(cardinality, int):
        cardinality = [cardinality] * (1 if first is None else int(first.array.shape[0]))
    return rest, {"cardinality": cardinality}


def _write(writer: StoreWriter, items: Iterable[Any], shard_size: int, total: float) -> dict[str, Any]:
    names: list[str] = []
    seen: set[str] = set()
    counts = {"utterances": 0, "errors": 0, "frames": 0}
    items = iter(items)
    with progress("import", total, "utt") as bar:
        while chunk := list(itertools.islice(items, shard_size)):
            good, bad = [], []
            for one in chunk:
                utt_id = one.id if isinstance(one, StoreItem) else one["id"]
                if utt_id in seen:
                    raise AudiokdError(f"utterance {utt_id!r} comes twice", fix="ids must differ: rename one of them")
                seen.add(utt_id)
                if not isinstance(one, StoreItem):
                    bad.append(one)
                    continue
                one = _shaped(one, writer)
                try:
                    counts["frames"] += len(writer.check_item(one))
                    good.append(one)
                except AudiokdError as e:
                    bad.append({"id": utt_id, "where": "", "error": e.what})
            name = f"{len(names):05d}"
            digest = _fingerprint(good, bad)
            if not writer.done(name, digest):
                writer.write_shard(name, good, bad, input_sha256=digest)
            names.append(name)
            counts["utterances"] += len(good)
            counts["errors"] += len(bad)
            bar.advance(len(chunk))
    if not names:
        writer.write_shard("00000", [])
        names = ["00000"]
    writer.finish(names)
    return counts


def _shaped(item: StoreItem, writer: StoreWriter) -> StoreItem:
    """An utterance without a frame has lost its other axis in some formats: give it back."""
    if item.array.size:
        return item
    if writer.kind == "codes":
        array = np.zeros((writer.meta["num_codebooks"], 0), np.int64)
    else:
        array = np.zeros((0, writer.meta.get("feature_dim", 0)), np.float32)
    return StoreItem(item.id, array, item.num_samples, item.sample_rate, item.text, item.speaker)


def _fingerprint(good: list[StoreItem], bad: list[dict[str, Any]]) -> str:
    """sha256 over what goes into a shard, so that a changed source is seen when an import goes on."""
    parts = []
    for i in good:
        row = [i.id, i.num_samples, i.sample_rate, i.text, i.speaker, str(i.array.dtype), list(i.array.shape)]
        parts += [json.dumps(row).encode(), np.ascontiguousarray(i.array).tobytes()]
    return sha256_bytes(*parts, json.dumps(bad).encode())
