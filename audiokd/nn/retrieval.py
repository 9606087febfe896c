"""Retrieval among embeddings, for training and scoring alike."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 4096  # queries at once


def recall_at_1(queries: Tensor, keys: Tensor, groups: Tensor) -> float:
    """Share of `queries` [N, D] whose nearest of `keys` [N, D], by dot product, is of their own group.

    Args:
        queries, keys: embeddings in the same order, of length 1 for cosines.
        groups: [N] integers, the same for pairs of the same caption: any key of the query's caption is right.
    """
    nearest = torch.cat([(some @ keys.T).argmax(-1) for some in queries.split(ROWS)])
    return float((groups[nearest] == groups).double().mean())
