"""Results of `audiokd detect` as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audiokd.eval.table import NOTHING, Summary

METRICS = {"psds1": "PSDS1", "psds2": "PSDS2", "event_f1": "event F1", "intersection_f1": "intersection F1"}


def detection_table(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, a row a system, for markdown or a report page.

    Args:
        results: contents of the JSON files that `audiokd detect` wrote.
    """
    headers = ["system", "n", *(f"{label} ↑" for label in METRICS.values()), "alpha_st"]
    rows = []
    for r in results:
        scores = [Summary(**r["summary"].get(name, NOTHING)).text() for name in METRICS]
        rows.append([r["system"], str(r["utterances"]), *scores, f"{r['settings']['alpha_st']:g}"])
    return headers, rows


def class_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, a row a label that has true events, of what one `audiokd detect` wrote."""
    headers = ["label", "events", *(f"{label} ↑" for label in METRICS.values()), "threshold"]
    rows = []
    for label, r in result["classes"].items():
        scores = [f"{r[name]:.3f}" if name in r else "-" for name in METRICS]
        rows.append([label, str(r["events"]), *scores, f"{result['thresholds'][label]:.3f}"])
    return headers, rows
