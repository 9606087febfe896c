"""The page's sections on a store of tokens: how its codebooks are used, what repeats, who uses what, what to listen to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiokd.report.page import Report
from audiokd.tokens.quality import corpus_stats
from audiokd.tokens.quality_tables import quality_tables
from audiokd.tokens.reader import TokenStore


def add_tokens(
    page: Report, store: TokenStore, name: str, languages: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Add a histogram of each codebook, totals, and the tables of `quality_tables`.

    Args:
        page: to add to.
        store: of codes, or of features, of which there are totals only.
        name: of the set of recordings, for the captions.
        languages: language by utterance id or by speaker.

    Returns:
        What `corpus_stats` found.
    """
    stats = corpus_stats(store, languages)
    if store.kind == "codes":
        histograms = [b["histogram"] for b in stats["codebooks"]]
        page.add_histogram("Codebooks", histograms, f"How often each code was used in set {name}.")
    page.add_table("Tokens", ["", ""], [[k, str(v)] for k, v in stats.items() if not isinstance(v, (list, dict))])
    if store.kind == "codes":
        for title, headers, rows, caption in quality_tables(stats):
            page.add_table(title, headers, rows, f"Set {name}. {caption}")
    return stats
