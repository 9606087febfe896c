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
    headers, rows = ["system", "n", "metric", "test ↑", "chance"], []
    headers += ["base ↑", "novel ↑", "harmonic mean ↑"] if any("base_novel" in r for r in results) else []
    for r in results:
        test = Summary(**r["test"])
        row = [r["system"], str(test.n), r["metric"], test.text(), f"{r['chance']:.3f}"]
        if "base_novel" in r:
            row += [_share(r["base_novel"][k]) for k in ("base", "novel", "harmonic_mean")]
        rows.append(row + ["-"] * (len(headers) - len(row)))
    return headers, rows


def domain_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, a row a domain and one of their mean, of what `audiokd classify` wrote of items that have domains."""
    found = result["by_domain"]
    rows = [[name, str(d["items"]), _share(d)] for name, d in found["domains"].items()]
    n = sum(d["items"] for d in found["domains"].values())
    return ["domain", "n", "accuracy ↑"], [*rows, ["mean over domains", str(n), f"{found['mean']:.3f}"]]


def _share(found: Mapping[str, Any]) -> str:
    """`0.912 [0.905, 0.918]`"""
    value = found["accuracy"] if "accuracy" in found else found["value"]
    return f"{value:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
