r"""Kernel distance (KID, arXiv 1801.01401): the unbiased squared maximum mean discrepancy of a cubic kernel.

.. math:: k(x, y) = (x \cdot y / D + 1)^3, \qquad
   \frac{\sum_{i \ne j} k(a_i, a_j)}{n (n - 1)} + \frac{\sum_{i \ne j} k(b_i, b_j)}{m (m - 1)}
   - \frac{2 \sum_{i, j} k(a_i, b_j)}{n m}

Over all items, not over drawn subsets as published: the mean over all subsets is the same number. It may be under 0, and does not
depend on n as the Fréchet distance does.
"""

from __future__ import annotations

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.eval.frechet import check_sides
from audiokd.eval.table import Summary, summarise_drawn

DRAWS = 100
BLOCK = 2048  # rows of the kernel held at once


def kid(a: np.ndarray, b: np.ndarray) -> float:
    """Of features of generated items [N, D] and of real ones [M, D]."""
    return float(_distances(a, b, np.ones((1, len(a))), np.ones((1, len(b))))[0])


def kid_summary(a: np.ndarray, b: np.ndarray, seed: int = 0, draws: int = DRAWS) -> Summary:
    """The distance with its 95% bootstrap interval over items of both sides.

    Raises:
        AudiokdError: other numbers of features, or under two items.
    """
    check_sides(a, b)
    if min(len(a), len(b)) < 2:
        raise AudiokdError(f"{len(a)} generated and {len(b)} real items: two of each are the least")
    rng = np.random.default_rng(seed)
    w = [
        np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(draws)])
        if draws
        else np.zeros((0, n), int)
        for n in (len(a), len(b))
    ]
    every = [np.concatenate([np.ones((1, len(x))), of]) for x, of in zip((a, b), w)]
    value, *drawn = _distances(a, b, *every)
    return summarise_drawn(float(value), drawn, min(len(a), len(b)))


def _distances(a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
    """A distance for each row of weights [K, N], [K, M]: how often each item counts."""
    n, m = of_a.sum(1), of_b.sum(1)
    own = [(_sums(x, x, w, w) - w @ _kernel_of_self(x)) for x, w in ((a, of_a), (b, of_b))]
    return own[0] / (n * (n - 1)) + own[1] / (m * (m - 1)) - 2 * _sums(a, b, of_a, of_b) / (n * m)


def _sums(x: np.ndarray, y: np.ndarray, of_x: np.ndarray, of_y: np.ndarray) -> np.ndarray:
    total = np.zeros(len(of_x))
    for i in range(0, len(x), BLOCK):
        kernel = (x[i : i + BLOCK] @ y.T / x.shape[1] + 1) ** 3
        total += ((of_x[:, i : i + BLOCK] @ kernel) * of_y).sum(1)
    return total


def _kernel_of_self(x: np.ndarray) -> np.ndarray:
    return (np.square(x).sum(1) / x.shape[1] + 1) ** 3
