r"""Scores of names that a model chose from a whole vocabulary (S3A, arXiv 2308.12960).

    accuracy     the name is the true one
    clustering   items whose name is the one that goes with their class, names and classes paired so that most do (Kuhn, 1955)
    iou          :math:`|F \cap T| / |F \cup T|` of the names that were given, F, and the true ones, T
    missing      share of T that was never given
    similarity   cosine of what a sentence encoder makes of the given and the true name

Intervals are percentile bootstraps over items. A drawn set has fewer names than all items have, so the intervals of clustering, iou
and missing are moved by the mean of that (`audiokd.eval.table.summarise_drawn`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.data.crops import rng_of
from audiokd.errors import AudiokdError
from audiokd.eval.table import Summary, summarise, summarise_drawn
from audiokd.nn.pooling import masked_mean

DRAWS = 200
#: names at once through a sentence encoder
BATCH = 256


def score_names(
    given: Sequence[str], true: Sequence[str], seed: int = 0, vectors: Mapping[str, Tensor] | None = None
) -> dict[str, Summary]:
    """Each score with its 95% interval.

    Args:
        given, true: names of N items.
        seed: of the bootstrap's draws.
        vectors: [D] of length 1 by name; without them `similarity` is left out.

    Raises:
        AudiokdError: no item, or another number of names.
    """
    if not len(given) or len(given) != len(true):
        raise AudiokdError(f"{len(given)} names given to {len(true)} items")
    names, mine = np.unique(given, return_inverse=True)
    classes, theirs = np.unique(true, return_inverse=True)
    at = {name: k for k, name in enumerate(names)}
    same = np.array([at.get(c, -1) for c in classes])  # which given name a true one is
    n = len(mine)
    picks = [rng_of(seed, "naming", k).integers(0, n, n) for k in range(DRAWS)]

    def drawn(of: Callable[[np.ndarray, np.ndarray], float]) -> Summary:
        return summarise_drawn(of(mine, theirs), [of(mine[p], theirs[p]) for p in picks], n)

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        found, there = set(a.tolist()), set(b.tolist())
        both = sum(int(same[t]) in found for t in there)
        return both / (len(found) + len(there) - both)

    def missing(a: np.ndarray, b: np.ndarray) -> float:
        found, there = set(a.tolist()), set(b.tolist())
        return sum(int(same[t]) not in found for t in there) / len(there)

    scores = {
        "accuracy": summarise([float(g == t) for g, t in zip(given, true)]),
        "clustering": drawn(clustering_accuracy),
        "iou": drawn(iou),
        "missing": drawn(missing),
    }
    if vectors is not None:
        scores["similarity"] = summarise([float(vectors[g] @ vectors[t]) for g, t in zip(given, true)])
    return scores


def clustering_accuracy(clusters: np.ndarray, classes: np.ndarray) -> float:
    """Share of items in the class that goes with their cluster, each cluster with one class at most, by the best pairing.

    Args:
        clusters, classes: numbers [N].
    """
    from scipy.optimize import linear_sum_assignment

    rows, a = np.unique(clusters, return_inverse=True)
    columns, b = np.unique(classes, return_inverse=True)
    counts = np.zeros((len(rows), len(columns)), dtype=np.int64)
    np.add.at(counts, (a, b), 1)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(a))


@torch.no_grad()
def sentence_vectors(folder: str, names: Sequence[str], device: str = "cpu") -> dict[str, Tensor]:
    """Directions [D] of `names` by a sentence encoder of transformers, such as MiniLM or MPNet: the mean over a text's tokens, as
    Sentence-BERT pools (arXiv 1908.10084).

    Raises:
        AudiokdError: no such folder, or no text encoder in it.
    """
    from transformers import AutoModel, AutoTokenizer

    from audiokd.teachers.base import load_pretrained

    model: Any = load_pretrained(AutoModel, folder, "the sentence encoder").to(device).eval()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as e:
        raise AudiokdError(f"cannot read its tokenizer: {str(e).splitlines()[0]}", where=folder) from e
    listed = list(dict.fromkeys(names))
    found: dict[str, Tensor] = {}
    for k in range(0, len(listed), BATCH):
        part = listed[k : k + BATCH]
        inputs = tokenizer(part, return_tensors="pt", padding=True, truncation=True).to(device)
        states = model(**{key: inputs[key] for key in ("input_ids", "attention_mask")}).last_hidden_state.float()
        found |= dict(zip(part, F.normalize(masked_mean(states, inputs["attention_mask"]), dim=-1).cpu()))
    return found
