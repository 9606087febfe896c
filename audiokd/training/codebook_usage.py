"""How much of each codebook is in use: the collapse monitor of a tokenizer."""

from __future__ import annotations

import torch
from torch import Tensor


class CodebookUsage:
    """Counts codes between two readings.

    Args:
        cardinality: codes of each stream.
        names: of the streams, for the metrics.
    """

    def __init__(self, cardinality: list[int], names: list[str]):
        self.names = names
        self.counts = [torch.zeros(n, dtype=torch.long) for n in cardinality]

    def add(self, codes: Tensor) -> None:
        """Count codes [B, Q, T]."""
        for q, c in enumerate(self.counts):
            c += torch.bincount(codes[:, q].reshape(-1), minlength=c.numel()).to(c.device)

    def read(self) -> dict[str, float]:
        """Per stream since the last reading: `usage` (share of codes seen), `perplexity` exp(H), `dead` (codes never seen)."""
        out = {}
        for name, c in zip(self.names, self.counts):
            total = int(c.sum())
            if not total:
                continue
            p = c[c > 0] / total
            out[f"codebook/{name}/usage"] = float((c > 0).float().mean())
            out[f"codebook/{name}/perplexity"] = float((-(p * p.log()).sum()).exp())
            out[f"codebook/{name}/dead"] = float((c == 0).sum())
            c.zero_()
        return out
