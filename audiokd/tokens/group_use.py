"""Which codes each speaker and each language uses, in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

OTHERS = "(others)"
NOT_TOLD = "(not told)"
_CELLS = 1 << 24  # of all groups' histograms together: 64 MB


class GroupUse:
    """Histograms of the codes of groups of utterances. Groups that come after the memory is full are counted as OTHERS.

    Args:
        cardinality: size of each codebook.
        cells: entries of all histograms together.
    """

    def __init__(self, cardinality: list[int], cells: int = _CELLS):
        self._cardinality = cardinality
        self._offsets = np.concatenate([[0], np.cumsum(cardinality)])
        self._room = max(1, cells // int(self._offsets[-1]))
        self._groups: dict[str, tuple[np.ndarray, list[float]]] = {}

    def add(self, name: str | None, codes: np.ndarray, seconds: float) -> None:
        """Count an utterance of group `name`. Shape: codes [T', Q]."""
        name = NOT_TOLD if name is None else name
        if name not in self._groups:
            name = name if len(self._groups) < self._room else OTHERS
            counts = np.zeros(int(self._offsets[-1]), np.uint32)
            self._groups.setdefault(name, (counts, [0, 0.0, 0]))
        counts, totals = self._groups[name]
        np.add.at(counts, (codes + self._offsets[:-1]).ravel(), np.uint32(1))
        for i, more in enumerate((1, seconds, len(codes))):
            totals[i] += more

    def result(self, everyone: list[np.ndarray]) -> list[dict[str, Any]]:
        r"""A dict a group, the most hours first: name, utterances, hours, frames and `codebooks`.

        A codebook's used, usage, entropy and perplexity are those of `store_stats` over the group's codes. divergence is
        the Jensen-Shannon divergence (bits, 0 to 1) of the group's codes p from everyone's r:
            H((p + r) / 2) - (H(p) + H(r)) / 2.
        A group of few codes diverges because it is small.

        Args:
            everyone: counts of each codebook, [cardinality] each.
        """
        found = []
        for name, (counts, (utterances, seconds, frames)) in self._groups.items():
            books = []
            for q, size in enumerate(self._cardinality):
                count = counts[self._offsets[q] : self._offsets[q] + size].astype(np.int64)
                used, bits = int((count > 0).sum()), entropy(count)
                row = {"used": used, "usage": used / size, "entropy": bits}
                row["perplexity"] = None if bits is None else 2.0**bits
                row["divergence"] = _divergence(count, everyone[q])
                books.append(row)
            totals = {"utterances": int(utterances), "hours": seconds / 3600, "frames": int(frames)}
            found.append({"name": name, **totals, "codebooks": books})
        return sorted(found, key=lambda g: (-g["hours"], g["name"]))


def entropy(counts: np.ndarray) -> float | None:
    """-sum p log2 p (bits) of what was counted; None of nothing."""
    total = counts.sum()
    if not total:
        return None
    p = counts[counts > 0] / total
    return float(-(p * np.log2(p)).sum()) + 0.0  # + 0.0: no minus zero


def _divergence(count: np.ndarray, everyone: np.ndarray) -> float | None:
    if not count.sum() or not everyone.sum():
        return None
    p, r = count / count.sum(), everyone / everyone.sum()
    mixed, own, all_ = (entropy(x) or 0.0 for x in ((p + r) / 2, p, r))
    return max(0.0, math.fsum((mixed, -own / 2, -all_ / 2)))
