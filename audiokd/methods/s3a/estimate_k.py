"""How many clusters there are (S3A, arXiv 2308.12960): k-means whose silhouette is best, found by halving.

Rousseeuw's silhouette is near 1 where items are near those of their cluster and far from all others. The official code searches
three times: 50 to 2,000 gives K1, 50 to K1 gives K2, K2 to (K1 + K2) / 2 gives K; on half of the items, 30,000 at least.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LEAST, MOST = 50, 2000
SILHOUETTE_ITEMS = 10_000  # its cost is their square


def cluster(items: np.ndarray, count: int, seed: int = 0, starts: int = 17) -> np.ndarray:
    """k-means of `items` [N, D] of length 1: the cluster [N] of each.

    Args:
        items: embeddings.
        count: K.
        seed: of the starts.
        starts: of which the one with the least distances is kept.
    """
    from sklearn.cluster import KMeans

    return KMeans(count, n_init=starts, max_iter=1000, random_state=seed).fit_predict(items)


def silhouette(items: np.ndarray, clusters: np.ndarray, seed: int = 0) -> float:
    """The mean over items, or over SILHOUETTE_ITEMS of them; -1 of a single cluster."""
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(clusters)) < len(items):
        return -1.0
    size = SILHOUETTE_ITEMS if len(items) > SILHOUETTE_ITEMS else None
    return float(silhouette_score(items, clusters, sample_size=size, random_state=seed))


def best_between(low: int, high: int, score: Callable[[int], float]) -> int:
    """The count from `low` to `high` with the greatest score, which is taken to rise and fall once: the half that has the better
    middle is kept."""
    known: dict[int, float] = {}

    def of(k: int) -> float:
        if k not in known:
            known[k] = score(k)
        return known[k]

    while high - low > 3:  # at 3 a half can be as long as the whole
        middle = (low + high) // 2
        left, right = (low + middle) // 2, (middle + high) // 2
        if of(left) >= of(right):
            high = middle if of(middle) < of(left) else right
        else:
            low = middle if of(middle) < of(right) else left
    return max(range(low, high + 1), key=lambda k: (of(k), -k))


def estimate_clusters(items: np.ndarray, seed: int = 0, low: int = LEAST, high: int = MOST) -> int:
    """K of `items` [N, D] of length 1.

    Args:
        items: embeddings.
        seed: of the sample and of k-means, which starts once for each K.
        low, high: that it is between.

    Raises:
        ValueError: fewer items than `low`, or no count between.
    """
    rng = np.random.default_rng(seed)
    size = max(30_000, len(items) // 2)
    sample = items if len(items) <= size else items[np.sort(rng.choice(len(items), size, replace=False))]
    high = min(high, len(sample) - 1)
    if not 2 <= low <= high:
        raise ValueError(f"no number of clusters from {low} to {high} for {len(items)} items")
    known: dict[int, float] = {}

    def score(k: int) -> float:
        if k not in known:
            known[k] = silhouette(sample, cluster(sample, k, seed, starts=1), seed)
        return known[k]

    first = best_between(low, high, score)
    second = best_between(low, first, score)
    return best_between(second, max(second, (first + second) // 2), score)
