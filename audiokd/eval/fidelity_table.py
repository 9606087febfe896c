"""Results of `audiokd fidelity` as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audiokd.eval.table import Summary

#: score -> its column
COLUMNS = {
    "fid": "FID ↓",
    "fad": "FAD ↓",
    "kid": "KID x 1000 ↓",
    "precision": "precision ↑",
    "recall": "recall ↑",
    "density": "density ↑",
    "coverage": "coverage ↑",
    "diversity": "diversity ↑",
    "diversity_real": "diversity of real",
    "accuracy": "accuracy ↑",
    "accuracy_real": "accuracy of real",
    "clip_score": "CLIP score ↑",
}
_DIGITS = {"fid": 2, "fad": 2, "kid": 2, "clip_score": 2}


def fidelity_table(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, a row a system, for markdown or a report page.

    Args:
        results: contents of the JSON files that `audiokd fidelity` wrote.
    """
    names = [n for n in COLUMNS if any(n in r["scores"] for r in results)]
    rows = []
    for r in results:
        cells = [_shown(n, Summary(**r["scores"][n])) if n in r["scores"] else "-" for n in names]
        rows.append([r["system"], str(r["generated"]), *cells])
    return ["system", "n", *(COLUMNS[n] for n in names)], rows


def _shown(name: str, s: Summary) -> str:
    if name == "kid":
        mean, low, high = (None if v is None else 1000 * v for v in (s.mean, s.low, s.high))
        s = Summary(mean, low, high, s.n)
    return s.text(_DIGITS.get(name, 3))
