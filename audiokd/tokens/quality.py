"""The quality of a corpus of codes: what `store_stats` says, and repetition, use by speaker and language, outliers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.progress import progress
from audiokd.tokens.group_use import GroupUse, entropy
from audiokd.tokens.outliers import Outliers
from audiokd.tokens.reader import TokenStore
from audiokd.tokens.remote import open_store
from audiokd.tokens.repetition import ORDERS, Repetition, repetition
from audiokd.tokens.stats import store_stats

_FRAMES, _UTTERANCES = 1 << 19, 4096  # looked at in one go
_BINS, _BINS_OF_ALL = 1 << 22, 1 << 24  # counters of bigrams: of a codebook, and of all of them (128 MB)


def corpus_stats(
    path: str | os.PathLike[str] | TokenStore, languages: Mapping[str, str] | None = None, listen: int = 5
) -> dict[str, Any]:
    r"""`store_stats`, and for a store of codes what tells a good corpus from a bad one. Memory does not grow with it.

    Each of `codebooks` has as well:
        histogram: uses of each code, [cardinality].
        repetition: {"2": ..., "3": ..., "4": ...}: the share of n-grams that stood in the same utterance before
            (`repetition.Repetition`), None where there are none.
        bigram_entropy: of pairs of codes that follow each other in an utterance, bits. conditional_entropy: of a code given
            the one before, H(pair) - H(first of a pair). A codebook of too many codes for exact counts (over 2048 alone, 1024
            among 16) shares counters by a hash, which makes both too low: bigrams_exact is False.
        longest_run: frames, seconds and id of the longest run of one code.

    Args:
        path: folder of the store, or the open store.
        languages: language by utterance id or by speaker.
        listen: outliers to list for each reason.

    Returns:
        All that, and for codes `speakers` and `languages` (`GroupUse.result`; languages where they are given) and `outliers`
        (`Outliers.result`).

    Raises:
        AudiokdError: no store, a damaged one, or languages for a store of features.
    """
    store = path if isinstance(path, TokenStore) else open_store(path)
    stats = store_stats(store)
    if store.kind != "codes":
        if languages is not None:
            fix = "give a store of codes, or leave --languages out"
            raise AudiokdError("features have no codes to count by language", where=str(store.path), fix=fix)
        return stats
    cardinality, rate = store.meta["cardinality"], stats["frame_rate"] or 1.0
    books = [_Codebook(size, len(cardinality)) for size in cardinality]
    speakers, spoken = GroupUse(cardinality), GroupUse(cardinality)
    outliers = Outliers(listen, cardinality[0], rate)
    for rows, codes in _blocks(store):
        lengths = np.array([r["frames"] for r in rows], np.int64)
        found = [repetition(codes[:, q], lengths) for q in range(len(books))]
        for q, book in enumerate(books):
            book.add(codes[:, q], lengths, found[q], rows)
        outliers.add(rows, lengths, found[0])
        for row, end, n in zip(rows, np.cumsum(lengths).tolist(), lengths.tolist()):
            seconds, speaker = row["num_samples"] / row["sample_rate"], row.get("speaker")
            speakers.add(speaker, codes[end - n : end], seconds)
            if languages is not None:
                spoken.add(languages.get(row["id"], languages.get(speaker or "")), codes[end - n : end], seconds)
    counts = [b.counts for b in books]
    stats["codebooks"] = [known | book.result(rate) for known, book in zip(stats["codebooks"], books)]
    stats["speakers"] = speakers.result(counts)
    if languages is not None:
        stats["languages"] = spoken.result(counts)
    stats["outliers"] = outliers.result()
    return stats


def _blocks(store: TokenStore) -> Iterator[tuple[list[dict[str, Any]], np.ndarray]]:
    """Rows of some utterances that lie one behind another, and their codes [sum T', Q] int64."""
    with progress("quality", len(store), "utt") as bar:
        for shard in store.shards:
            array, start, end = store.array(shard), 0, 0
            rows: list[dict[str, Any]] = []
            for row in store.rows(shard):
                if rows and (end - start + row["frames"] > _FRAMES or len(rows) == _UTTERANCES):
                    yield rows, array[start:end].astype(np.int64)
                    bar.advance(len(rows))
                    rows, start = [], end
                if row["offset"] != end or end + row["frames"] > len(array):
                    fix = "run `audiokd store verify` to see all that is wrong"
                    raise AudiokdError(f"the index is damaged at {row['id']}", where=str(store.path / shard), fix=fix)
                end += row["frames"]
                rows.append(row)
            if rows:
                yield rows, array[start:end].astype(np.int64)
                bar.advance(len(rows))


class _Codebook:
    """Counts of one codebook over the corpus."""

    def __init__(self, size: int, num_codebooks: int):
        self.counts = np.zeros(size, np.int64)
        self._firsts = np.zeros(size, np.int64)
        bins = min(_BINS, 1 << int(math.log2(_BINS_OF_ALL / num_codebooks)))
        self._exact = size * size <= bins
        self._pairs = np.zeros(size * size if self._exact else bins, np.int64)
        self._ngrams = np.zeros((2, len(ORDERS)), np.int64)
        self._run: tuple[int, str | None] = (0, None)

    def add(self, codes: np.ndarray, lengths: np.ndarray, found: Repetition, rows: list[dict[str, Any]]) -> None:
        """Count utterances: codes [sum T'], lengths [B], what `repetition` found of them, their index rows."""
        self.counts += np.bincount(codes, minlength=len(self.counts))
        follows = np.ones(max(0, len(codes) - 1), bool)
        ends = np.cumsum(lengths)
        follows[ends[(ends > 0) & (ends < len(codes))] - 1] = False  # no pair reaches from one utterance to the next
        first, second = codes[:-1][follows], codes[1:][follows]
        self._firsts += np.bincount(first, minlength=len(self._firsts))
        pairs = first * len(self.counts) + second
        if not self._exact:  # Fibonacci hashing: the product's high bits
            shift = np.uint64(64 - int(math.log2(len(self._pairs))))
            pairs = ((pairs.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> shift).astype(np.int64)
        self._pairs += np.bincount(pairs, minlength=len(self._pairs))
        self._ngrams += [found.ngrams.sum(axis=0), found.repeated.sum(axis=0)]
        longest = int(found.longest_run.argmax())
        if found.longest_run[longest] > self._run[0]:
            self._run = int(found.longest_run[longest]), rows[longest]["id"]

    def result(self, frame_rate: float) -> dict[str, Any]:
        shares = {str(n): r / c if c else None for n, c, r in zip(ORDERS, *self._ngrams.tolist())}
        pair, first = entropy(self._pairs), entropy(self._firsts)
        frames, utt_id = self._run
        return {
            "histogram": self.counts.tolist(),
            "repetition": shares,
            "bigram_entropy": pair,
            "conditional_entropy": None if pair is None or first is None else max(0.0, pair - first),
            "bigrams_exact": self._exact,
            "longest_run": {"frames": frames, "seconds": frames / frame_rate, "id": utt_id},
        }
