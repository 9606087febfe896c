"""Statistics of a token store: how much of each codebook is used, and how many bits a second the codes really carry."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from audiokd.progress import progress
from audiokd.tokens.reader import TokenStore
from audiokd.tokens.remote import open_store

_CHUNK = 1 << 20  # frames looked at in one go


def store_stats(path: str | os.PathLike[str] | TokenStore) -> dict[str, Any]:
    r"""Totals and codebook statistics of a store, read shard by shard.

    For codebook q of size K_q with empirical distribution p over its ids:
        entropy H_q = -sum_k p_k log2 p_k (bits), perplexity 2^H_q, usage = share of ids seen at least once.
    Nominal bitrate = frame_rate * sum_q log2 K_q; entropy bitrate = frame_rate * sum_q H_q (codebooks and frames taken
    as independent: a coder that uses their dependence needs less).

    Args:
        path: folder of the store, or the open store.

    Returns:
        kind, shards, utterances, failed, frames, hours, frame_rate (Hz); for codes also num_codebooks,
        tokens_per_second, nominal_bitrate and entropy_bitrate (bit/s), and `codebooks`: a list of dicts with size,
        used, usage, perplexity, entropy (bits), dead; for features feature_dim, dtype, min, max, mean, std. A mean
        over nothing is None.
    """
    store = path if isinstance(path, TokenStore) else open_store(path)
    infos = [store.shard_info(s) for s in store.shards]
    frames = sum(i["frames"] for i in infos)
    seconds = math.fsum(r["num_samples"] / r["sample_rate"] for s in store.shards for r in store.rows(s))
    stats: dict[str, Any] = {
        "kind": store.kind,
        "shards": len(store.shards),
        "utterances": len(store),
        "failed": sum(i["errors"] for i in infos),
        "frames": frames,
        "hours": seconds / 3600,
        "frame_rate": store.meta.get("frame_rate") or (frames / seconds if seconds else None),
    }
    if store.kind == "codes":
        return stats | _code_stats(code_counts(store), stats)
    moments = _Moments()
    for part in _parts(store):
        moments.add(part)
    return stats | moments.result()


def code_counts(store: TokenStore) -> list[np.ndarray]:
    """How often each code stands in a store of codes: int64 [cardinality] a codebook."""
    counts = [np.zeros(k, np.int64) for k in store.meta["cardinality"]]
    for part in _parts(store):
        for q, count in enumerate(counts):
            count += np.bincount(part[:, q], minlength=len(count))
    return counts


def _parts(store: TokenStore) -> Iterator[np.ndarray]:
    """The store's frames, a bounded number at a time."""
    with progress("stats", len(store.shards), "shards") as bar:
        for shard in store.shards:
            array = store.array(shard)
            for i in range(0, len(array), _CHUNK):
                yield array[i : i + _CHUNK]
            bar.advance()


def render_stats(stats: dict[str, Any]) -> str:
    """The statistics as a table of plain text, for a terminal or a log."""
    head = f"{stats['utterances']:,} utterances, {stats['hours']:.3f} h, {stats['frames']:,} frames"
    lines = [f"{head} in {stats['shards']} shards; {stats['failed']} failed"]
    if stats["frame_rate"]:
        lines.append(f"frame rate {stats['frame_rate']:.4g} Hz")
    if stats["kind"] == "features":
        lines.append(f"{stats['feature_dim']} features a frame, {stats['dtype']}")
        lines.append("  ".join(f"{k} {_num(stats[k])}" for k in ("min", "max", "mean", "std")))
        return "\n".join(lines)
    rates = [_num(stats[k]) for k in ("tokens_per_second", "nominal_bitrate", "entropy_bitrate")]
    lines.append(f"{rates[0]} tokens/s, {rates[1]} bit/s nominal, {rates[2]} bit/s by entropy")
    lines.append(f"{'codebook':>8} {'size':>7} {'used':>7} {'usage':>7} {'dead':>7} {'perplexity':>10} {'bits':>7}")
    for q, c in enumerate(stats["codebooks"]):
        row = f"{q:>8} {c['size']:>7} {c['used']:>7} {c['usage']:>7.1%} {c['dead']:>7}"
        lines.append(f"{row} {_num(c['perplexity']):>10} {_num(c['entropy']):>7}")
    return "\n".join(lines)


def _code_stats(counts: list[np.ndarray], stats: dict[str, Any]) -> dict[str, Any]:
    books: list[dict[str, Any]] = []
    for count in counts:
        used, total = int((count > 0).sum()), int(count.sum())
        p = count[count > 0] / total if total else np.zeros(0)
        entropy = float(-(p * np.log2(p)).sum()) + 0.0 if total else None  # + 0.0: no minus zero
        size = len(count)
        perplexity = None if entropy is None else 2.0**entropy
        books.append(
            {"size": size, "used": used, "usage": used / size, "dead": size - used}
            | {"entropy": entropy, "perplexity": perplexity}
        )
    rate = stats["frame_rate"]
    known = bool(rate) and bool(stats["frames"])
    return {
        "num_codebooks": len(counts),
        "tokens_per_second": rate * len(counts) if rate else None,
        "nominal_bitrate": rate * sum(math.log2(len(c)) for c in counts) if rate else None,
        "entropy_bitrate": rate * math.fsum(b["entropy"] for b in books) if known else None,
        "codebooks": books,
    }


class _Moments:
    """Running count, mean and squared deviation (Chan et al. 1979), in float64."""

    def __init__(self) -> None:
        self.n, self.mean, self.m2 = 0, 0.0, 0.0
        self.low, self.high = math.inf, -math.inf
        self.dim, self.dtype = 0, "float32"

    def add(self, part: np.ndarray) -> None:
        x = part.astype(np.float64)
        self.dim, self.dtype = part.shape[1], str(part.dtype)
        if not x.size:
            return
        mean, delta, n = float(x.mean()), float(x.mean()) - self.mean, self.n + x.size
        self.m2 += float(((x - mean) ** 2).sum()) + delta**2 * self.n * x.size / n
        self.mean += delta * x.size / n
        self.n, self.low, self.high = n, min(self.low, float(x.min())), max(self.high, float(x.max()))

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = {"feature_dim": self.dim, "dtype": self.dtype}
        if not self.n:
            return found | dict.fromkeys(("min", "max", "mean", "std"))
        return found | {"min": self.low, "max": self.high, "mean": self.mean, "std": math.sqrt(self.m2 / self.n)}


def _num(x: float | None) -> str:
    return "-" if x is None else f"{x:.5g}"
