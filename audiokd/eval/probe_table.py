"""Results of `audiokd probe` and `audiokd classify` as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audiokd.eval.table import Summary


def probe_table(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, a row a probe, for markdown or a report page.

    Args:
        results: contents of the JSON files that `audiokd probe` wrote.
    """
    headers = ["system", "n", "metric", "test ↑", "chance", "dev ↑", "learning rate"]
    rows = []
    for r in results:
        test = Summary(**r["test"])
        chance = f"{r['chance']:.3f}" if "chance" in r else "-"  # an mlp's is not asked for
        scores = [test.text(), chance, f"{max(r['dev']):.3f}", f"{r['rate']:g}"]
        rows.append([r["system"], str(test.n), r["metric"], *scores])
    return headers, rows


def classifier_table(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, a row a classifier.

    Args:
        results: contents of the JSON files that `audiokd classify` wrote.
    """
    rows = []
    for r in results:
        test = Summary(**r["test"])
        rows.append([r["system"], str(test.n), r["metric"], test.text(), f"{r['chance']:.3f}"])
    return ["system", "n", "metric", "test ↑", "chance"], rows
