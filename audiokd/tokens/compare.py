"""Two token stores against each other: merge them into one, or say how they differ."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write
from audiokd.objects import here_only
from audiokd.progress import progress
from audiokd.tokens import layout
from audiokd.tokens.reader import StoredCodes, StoredFeatures, TokenStore
from audiokd.tokens.remote import RemoteStore, open_store
from audiokd.tokens.writer import StoreItem, StoreWriter

_SHOWN = 10  # first differing places that a diff lists


def merge_stores(
    a: str | os.PathLike[str], b: str | os.PathLike[str], out: str | os.PathLike[str], copy: bool = False
) -> dict[str, Any]:
    """Write to `out` a store that holds the utterances of `a` and then those of `b`, shards numbered anew.

    Shards that need no change are links to those of `a` and `b`, or copied byte for byte and checked against their sha256 on the
    way, as they always are where one of the two is in an object store. An utterance in both with equal content is kept once (as
    in `a`); one that failed in one store only has not failed.

    Returns:
        Counts: shards, linked (or copied), rewritten, duplicates.

    Raises:
        AudiokdError: kind or meta differ, an id has other content in `b`, a file is damaged, or `out` holds something or is in an
            object store.
    """
    here_only(out, "a merged store")
    first, second = open_store(a), open_store(b)
    for store in (first, second):
        if store.unfinished or not store.complete:
            fix = "run the command that makes it to its end first"
            raise AudiokdError("the store is not complete", where=str(store.path), fix=fix)
    if differ := _head_differences(first, second):
        fix = "only stores of one model and config can be merged"
        raise AudiokdError("the stores differ: " + "; ".join(differ), where=f"{a} and {b}", fix=fix)
    out = Path(out)
    if out.resolve() in (first.path.resolve(), second.path.resolve()) or (out / layout.COMPLETE_JSON).exists():
        raise AudiokdError("there is a store already", where=str(out), fix="give a new folder")

    for store in (first, second):
        if isinstance(store, RemoteStore):
            store.fetch_all()
            copy = True  # a link into the cache would not last
    writer = StoreWriter(out, first.kind, first.meta)
    for link in out.iterdir():
        if link.is_symlink():  # of a merge that was killed
            link.unlink()
    written: list[str] = []
    kept = duplicates = 0
    failed: set[str] = set()
    with progress("merge", len(first.shards) + len(second.shards), "shards") as bar:
        for store, other in ((first, second), (second, first)):
            for shard in store.shards:
                again = {i for i in _ids(store, shard) if i in other} if store is second else set()
                for utt_id in sorted(again):
                    _refuse_difference(first[utt_id], second[utt_id], a, b)
                errors = [e for e in store.errors(shard) if e["id"] not in other and e["id"] not in failed]
                failed |= {e["id"] for e in errors}
                duplicates += len(again)
                name = f"{len(written):05d}"
                info = store.shard_info(shard)
                if not again and len(errors) == info["errors"]:
                    if copy:
                        _copy_shard(store.path / shard, out / name, info)
                    else:
                        _link_shard(store.path / shard, out / name)
                    kept += 1
                else:
                    items = [_item(u) for u in store.items(shard) if u.id not in again]
                    if not items and not errors:
                        bar.advance()
                        continue
                    given = (info.get("plan"), info.get("input_sha256"), info.get("input_ids_sha256"))
                    writer.write_shard(name, items, errors, *given)
                written.append(name)
                bar.advance()
    writer.finish(written)
    return {
        "shards": len(written),
        "copied" if copy else "linked": kept,
        "rewritten": len(written) - kept,
        "duplicates": duplicates,
    }


def diff_stores(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> dict[str, Any]:
    """How the utterances of two stores of one kind differ.

    Returns:
        same (bool: same ids, same content), meta (sentences on differing keys), only_a, only_b (ids), common, equal
        (counts of utterances), differing (ids, with other length or content), share_equal (of the values of frames that
        both have, None if there are none), share_equal_per_codebook (codes only), max_abs_diff (features only),
        first_differences: the first of each of up to 10 utterances: id, frame, codebook (or dim), a, b; where only the
        lengths differ, a and b are those.

    Raises:
        AudiokdError: one holds codes and the other features, or their utterances differ in values a frame.
    """
    first, second = open_store(a), open_store(b)
    if first.kind != second.kind:
        raise AudiokdError(f"{first.kind} and {second.kind} cannot be compared", where=f"{a} and {b}")
    result: dict[str, Any] = {"only_a": [], "differing": [], "common": 0, "first_differences": []}
    same = total = np.zeros(0, np.int64)
    max_diff = 0.0
    with progress("diff", len(first), "utt") as bar:
        for one in first.items():
            bar.advance()
            if one.id not in second:
                result["only_a"].append(one.id)
                continue
            result["common"] += 1
            x, y = _frames(one), _frames(second[one.id])
            if x.shape[1] != y.shape[1]:
                what = f"{one.id} has {x.shape[1]} values a frame in one store and {y.shape[1]} in the other"
                raise AudiokdError(what, where=f"{a} and {b}", fix="these stores are of different models")
            n = min(len(x), len(y))
            equal = x[:n] == y[:n]
            if not len(total):
                same = total = np.zeros(x.shape[1], np.int64)
            same, total = same + equal.sum(axis=0), total + n
            if first.kind == "features" and n:
                max_diff = max(max_diff, float(np.abs(x[:n].astype(np.float64) - y[:n].astype(np.float64)).max()))
            if len(x) != len(y) or not equal.all():
                result["differing"].append(one.id)
                if len(result["first_differences"]) < _SHOWN:
                    result["first_differences"].append(_first_difference(one.id, x, y, equal, first.kind))
    result["only_b"] = [i for i in second if i not in first]
    result["equal"] = result["common"] - len(result["differing"])
    result["meta"] = layout.meta_differences(first.meta, second.meta, "a", "b")
    result["share_equal"] = float(same.sum() / total.sum()) if total.sum() else None
    if first.kind == "codes":
        result["share_equal_per_codebook"] = [float(s / t) if t else None for s, t in zip(same, total)]
    else:
        result["max_abs_diff"] = max_diff
    result["same"] = not (result["only_a"] or result["only_b"] or result["differing"])
    return result


def render_diff(diff: dict[str, Any]) -> str:
    """The difference as plain text, for a terminal or a log."""
    share = "-" if diff["share_equal"] is None else f"{diff['share_equal']:.4%}"
    lines = [f"meta: {m}" for m in diff["meta"]]
    lines.append(f"{diff['common']} utterances in both: {diff['equal']} equal, {len(diff['differing'])} differ")
    lines.append(f"values equal: {share}")
    if per := diff.get("share_equal_per_codebook"):
        lines.append("by codebook: " + " ".join("-" if p is None else f"{p:.2%}" for p in per))
    if diff.get("max_abs_diff"):
        lines.append(f"largest difference: {diff['max_abs_diff']:.3g}")
    for side in ("only_a", "only_b"):
        if ids := diff[side]:
            more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
            lines.append(f"only in {side[-1]}: {len(ids)}: {', '.join(ids[:_SHOWN])}{more}")
    for d in diff["first_differences"]:
        place = " ".join(f"{k} {v}" for k, v in d.items() if k not in ("id", "a", "b"))
        lines.append(f"{d['id']}: {place}: a {d['a']}, b {d['b']}")
    return "\n".join(lines)


def _head_differences(a: TokenStore, b: TokenStore) -> list[str]:
    kind = [f"kind differs: a {a.kind}, b {b.kind}"] if a.kind != b.kind else []
    return kind + layout.meta_differences(a.meta, b.meta, "a", "b")


def _ids(store: TokenStore, shard: str) -> list[str]:
    return [row["id"] for row in store.rows(shard)]


def _frames(u: StoredCodes | StoredFeatures) -> np.ndarray:
    """Frame-major. Shape: [T', Q] or [T', D]."""
    return u.codes.T if isinstance(u, StoredCodes) else u.features


def _item(u: StoredCodes | StoredFeatures) -> StoreItem:
    return StoreItem(u.id, u.array, u.num_samples, u.sample_rate, u.text, u.speaker)


def _refuse_difference(
    x: StoredCodes | StoredFeatures,
    y: StoredCodes | StoredFeatures,
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
) -> None:
    differ = [f for f in ("num_samples", "sample_rate", "text", "speaker") if getattr(x, f) != getattr(y, f)]
    if not np.array_equal(x.array, y.array):
        differ.insert(0, "codes" if isinstance(x, StoredCodes) else "features")
    if differ:
        what = f"the stores hold the utterance with different {', '.join(differ)}"
        fix = f"`audiokd store diff {a} {b}` shows where; rename the utterance or leave it out of one store"
        raise AudiokdError(what, where=x.id, fix=fix)


def _link_shard(source: Path, target: Path) -> None:
    """A relative link, so that stores which lie side by side can be moved together."""
    target.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()), target_is_directory=True)


def _copy_shard(source: Path, target: Path, info: dict[str, Any]) -> None:
    """Copy a shard's files, shard.json last; a copy whose sha256 is not the listed one stops the merge."""
    (target / layout.SHARD_JSON).unlink(missing_ok=True)
    if target.exists():  # of a merge that was killed
        layout.remove_stale_tmp(target)
        for p in target.iterdir():
            p.unlink()
    for name in info["sha256"]:
        if Path(name).name != name:
            fix = "do not use this store: someone made it to write outside its folder"
            raise AudiokdError(f"file {name!r} is refused", where=str(source / layout.SHARD_JSON), fix=fix)
    for name, want in info["sha256"].items():
        _copy(source / name, target / name, want)
    _copy(source / layout.SHARD_JSON, target / layout.SHARD_JSON, None)


def _copy(source: Path, target: Path, want_sha256: str | None) -> None:
    import hashlib

    digest = hashlib.sha256()
    with open(source, "rb") as f, atomic_write(target) as g:
        while block := f.read(1 << 20):
            digest.update(block)
            g.write(block)
        if want_sha256 is not None and digest.hexdigest() != want_sha256:
            fix = f"run `audiokd store verify {source.parent.parent}`"
            raise AudiokdError("sha256 differs from shard.json: the file is damaged", where=str(source), fix=fix)


def _first_difference(utt_id: str, x: np.ndarray, y: np.ndarray, equal: np.ndarray, kind: str) -> dict[str, Any]:
    axis = "codebook" if kind == "codes" else "dim"
    if not equal.all():
        t, q = (int(i) for i in np.argwhere(~equal)[0])
        return {"id": utt_id, "frame": t, axis: q, "a": x[t, q].item(), "b": y[t, q].item()}
    return {"id": utt_id, "frame": len(equal), "a": f"{len(x)} frames", "b": f"{len(y)} frames"}
