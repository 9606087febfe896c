r"""The Fréchet distance of two sets of features as normal distributions (FID, arXiv 1706.08500; of sound FAD, arXiv 1812.08466).

.. math:: d^2 = |\mu_a - \mu_b|^2 + \mathrm{tr}\, \Sigma_a + \mathrm{tr}\, \Sigma_b
   - 2\, \mathrm{tr} (\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2})^{1/2}

With :math:`\Sigma = R^\top R` of the centred rows' QR decomposition the last trace is the sum of the singular values of
:math:`R_a R_b^\top`: no root of a product that is not symmetric, nothing complex, and as exact where a covariance is singular.

A covariance of D features has rank n - 1 at most: of n <= D items the value says more of n than of the distributions, and it falls
with n anyway, so that only values of one n can be compared.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.eval.table import Summary, summarise_drawn

DRAWS = 100


class Normal(NamedTuple):
    """A normal distribution.

    Attributes:
        mean: [D].
        root: R [min(n, D), D] of the covariance R^T R, that of samples (n - 1).
        n: items that it was made of.
    """

    mean: np.ndarray
    root: np.ndarray
    n: int

    @property
    def rank(self) -> int:
        """Of the covariance, numerically."""
        return int(np.linalg.matrix_rank(self.root))


def normal_of(x: np.ndarray, weights: np.ndarray | None = None) -> Normal:
    """Of rows [N, D]; `weights` [N] are how often each counts, once by default."""
    w = np.ones(len(x)) if weights is None else weights
    n = float(w.sum())
    mean = w @ x / n
    centred = (x - mean) * np.sqrt(w / max(n - 1, 1))[:, None]
    root: Any = np.linalg.qr(centred, mode="r")  # numpy types say a pair
    return Normal(mean, root, int(n))


def frechet(a: Normal, b: Normal) -> float:
    """The squared distance, from 0."""
    apart = float(np.square(a.mean - b.mean).sum())
    spread = float(np.square(a.root).sum() + np.square(b.root).sum())
    both = float(np.linalg.svd(a.root @ b.root.T, compute_uv=False).sum())
    return max(apart + spread - 2 * both, 0.0)  # rounding takes equal ones under 0


def frechet_summary(
    a: np.ndarray,
    b: np.ndarray,
    items_a: np.ndarray | None = None,
    items_b: np.ndarray | None = None,
    allow_singular: bool = False,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[Summary, dict[str, int]]:
    """The distance with its 95% bootstrap interval over items of both sides, and `dim`, `rank_generated`, `rank_real`.

    Args:
        a, b: features of generated and of real items, float64 [N, D] and [M, D].
        items_a, items_b: [N], [M] number of the item that a row is of, where an item has several (frames of sound); these are drawn
            together.
        allow_singular: go on where there are no more rows than features.
        seed: of the draws.
        draws: of the bootstrap; 0 leaves the interval out.

    Raises:
        AudiokdError: other numbers of features, one row alone, or no more rows than features.
    """
    check_sides(a, b)
    for x, name in ((a, "generated"), (b, "real")):
        if len(x) < 2:
            raise AudiokdError(f"{len(x)} row of {name} features has no covariance")
        if len(x) <= a.shape[1] and not allow_singular:
            what = f"{len(x)} {name} rows of {a.shape[1]} features: their covariance is singular, the distance would say little"
            fix = "more items, an encoder of fewer features, or --allow_singular true, and compare values of equal n alone"
            raise AudiokdError(what, fix=fix)
    sides = normal_of(a), normal_of(b)
    rng = np.random.default_rng(seed)
    groups = [np.arange(len(x)) if g is None else g for x, g in ((a, items_a), (b, items_b))]
    counts = [int(g.max()) + 1 for g in groups]
    drawn = []
    for _ in range(draws):
        of = [np.bincount(rng.integers(0, n, n), minlength=n)[g].astype(float) for n, g in zip(counts, groups)]
        drawn.append(frechet(normal_of(a, of[0]), normal_of(b, of[1])))
    about = {"dim": a.shape[1], "rank_generated": sides[0].rank, "rank_real": sides[1].rank}
    return summarise_drawn(frechet(*sides), drawn, min(counts)), about


def check_sides(a: np.ndarray, b: np.ndarray) -> None:
    """That two sets of features are of one encoder.

    Raises:
        AudiokdError: they have other numbers of features.
    """
    if a.shape[1] != b.shape[1]:
        what = f"{a.shape[1]} features of generated items, {b.shape[1]} of real ones"
        raise AudiokdError(what, fix="one encoder and layer for both")
