"""What `corpus_stats` found, as tables: for a terminal and for the page of a run."""

from __future__ import annotations

from typing import Any

from audiokd.tokens.repetition import ORDERS

Table = tuple[str, list[str], list[list[Any]], str]
_SHOWN = 10  # groups of a table


def quality_tables(stats: dict[str, Any]) -> list[Table]:
    """Title, headers, rows and caption of each table that there is: repetition, speakers, languages, outliers.

    Args:
        stats: of `corpus_stats`, of a store of codes.
    """
    headers = ["codebook", "top code", "bigram bits", "bits given the last"]
    headers += [f"repeated {n}-grams" for n in ORDERS] + ["longest run (s)"]
    rows: list[list[Any]] = []
    for q, b in enumerate(stats["codebooks"]):
        top = max(b["histogram"]) / stats["frames"] if stats["frames"] else None
        about = "" if b["bigrams_exact"] else ">"
        bits = [about + _num(b[k]) for k in ("bigram_entropy", "conditional_entropy")]
        shares = [_percent(b["repetition"][str(n)]) for n in ORDERS]
        rows.append([str(q), _percent(top), *bits, *shares, f"{b['longest_run']['seconds']:.2f}"])
    caption = "Repeated: share of n-grams that stood in the same utterance before. >: at least, as counters are shared."
    tables: list[Table] = [("Repetition", headers, rows, caption)]
    for title, key in (("Use by speaker", "speakers"), ("Use by language", "languages")):
        groups = stats.get(key, [])
        if len(groups) > 1 or (key == "languages" and groups):
            tables.append((title, *_groups(groups, key.removesuffix("s"))))
    if stats["outliers"]:
        rows = [[o["id"], o["reason"].replace("_", " "), f"{o['seconds']:.2f}", o["why"]] for o in stats["outliers"]]
        caption = "By the first codebook; the worst of each reason first."
        tables.append(("Utterances to listen to", ["utterance", "reason", "seconds", "why"], rows, caption))
    return tables


def render_quality(stats: dict[str, Any]) -> str:
    """The tables as plain text, for a terminal or a log."""
    parts = []
    for title, headers, rows, caption in quality_tables(stats):
        cells = [headers, *([str(c) for c in row] for row in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells]
        parts.append("\n".join([f"{title}. {caption}".strip(), *lines]))
    return "\n\n".join(parts)


def _groups(groups: list[dict[str, Any]], name: str) -> tuple[list[str], list[list[Any]], str]:
    headers = [name, "utterances", "hours", "codes used", "usage", "perplexity", "divergence"]
    rows = []
    for g in groups[:_SHOWN]:
        b = g["codebooks"][0]
        use = [b["used"], _percent(b["usage"]), _num(b["perplexity"]), _num(b["divergence"])]
        rows.append([g["name"], g["utterances"], f"{g['hours']:.3f}", *use])
    more = f" {len(groups) - _SHOWN} with fewer hours are left out." if len(groups) > _SHOWN else ""
    return headers, rows, f"Of the first codebook. Divergence from the use of all together, in bits from 0 to 1.{more}"


def _percent(x: float | None) -> str:
    return "-" if x is None else f"{x:.1%}"


def _num(x: float | None) -> str:
    return "-" if x is None else f"{x:.4g}"
