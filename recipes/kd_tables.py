"""What the finished cells of kd_grid.py say: a table a checkpoint, a row a method; and how long the others will take."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Protocol

from cells import finished, spread

from audiokd.eval.table import markdown

_TEACHER = "{}.teacher_in_domain"


class Scored(Protocol):
    """A cell, as `kd_grid.StudentCell`."""

    method: str
    domain: str
    export: tuple[str, ...]
    score: tuple[str, dict[str, Any]]

    @property
    def sha256(self) -> str:
        """Of what makes it."""


def tables(cells: Sequence[Scored], columns: list[str], each: str = "without") -> str:
    """A table a checkpoint, a row a method: of one seed with its 95% interval over items, of several the mean and their range."""
    done = finished()
    rows = [done[c.sha256] for c in cells if c.sha256 in done]
    text = []
    for checkpoint in dict.fromkeys(c for cell in cells for c in cell.export):
        if any(k.startswith(f"{checkpoint}.") for r in rows for k in r["scores"]):
            text.append(f"Checkpoint: {checkpoint}\n\n{_rows(cells, rows, checkpoint, columns, each)}")
    return "\n".join(text)


def _rows(cells: Sequence[Scored], rows: list[dict[str, Any]], checkpoint: str, columns: list[str], each: str) -> str:
    domains = list(dict.fromkeys(c.domain for c in cells if c.domain))
    of_domains = [f"{each} {d}" for d in domains] + ["mean"] if domains else []
    names = [f"{d} {c}".removesuffix(" accuracy") for c in columns for d in of_domains] or columns
    # of distillation the teacher's validation score, beside the student's
    taught = any(_TEACHER.format(checkpoint) in r["scores"] for r in rows)
    detectors = all(c.score[0] == "anomalies" for c in cells)
    table = []
    for method in dict.fromkeys(c.method for c in cells):
        found = [r for r in rows if r["method"] == method]
        if not any(k.startswith(f"{checkpoint}.") for r in found for k in r["scores"]):
            continue
        values = []
        for column in columns:
            key = f"{checkpoint}.{column}"
            for domain in domains or [None]:
                here = [r for r in found if r["domain"] == domain]
                values.append(spread(here, key) if here else "-")
            values += [spread(_means(found, domains, key), key)] if domains else []
        inside = f"{checkpoint}.in_domain"
        inner = _means(found, domains, inside) if domains else found
        size, speed = (statistics.median(r[k] or 0 for r in found) for k in ("parameters", "latency_ms"))
        about = [spread(inner, inside), *([spread(found, _TEACHER.format(checkpoint))] if taught else [])]
        about += [f"{size / 1e6:.2f} M", f"{speed:.1f}" if speed else "-"]
        about += [f"{1000 / speed:.1f}" if speed else "-"] if detectors else []
        table.append([method, str(len({r["seed"] for r in found})), *values, *about])
    headers = ["cell", "seeds", *names, "in domain", *(["its teacher"] if taught else []), "parameters", "ms a picture"]
    return markdown(headers + (["frames a second"] if detectors else []), table)


def _means(rows: list[dict[str, Any]], domains: list[str], key: str) -> list[dict[str, Any]]:
    """A row a seed that has all domains: the mean over them."""
    means = []
    for seed in sorted({r["seed"] for r in rows}):
        of = [r["scores"].get(key) for r in rows if r["seed"] == seed]
        if len(of) == len(domains) and None not in of:
            means.append({"scores": {key: statistics.mean(of)}, "intervals": {}})
    return means


def forecast(cells: Sequence[Scored]) -> str:
    """How long the cells that have no row will take, by those of the same name that have one."""
    done = finished()
    table, total = [], 0.0
    for method in dict.fromkeys(c.method for c in cells):
        of = [c for c in cells if c.method == method]
        spent = [done[c.sha256]["seconds"] for c in of if c.sha256 in done]
        left = len(of) - len(spent)
        each = statistics.mean(spent) if spent else None
        total += left * (each or 0)
        table.append(
            [method, str(left), f"{each / 60:.1f}" if each else "?", f"{left * each / 3600:.2f}" if each else "?"]
        )
    table.append(["all that is known", "", "", f"{total / 3600:.2f}"])
    return markdown(["cell", "left", "minutes each", "hours of one process"], table)
