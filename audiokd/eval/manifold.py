r"""How generated and real features lie among each other: precision and recall (arXiv 1904.06991), density and
coverage (2002.09797).

A ball around each item reaches to its k-th nearest neighbour of the same side. Of generated items a_j and real ones b_i

    precision   share of a_j in the ball of some b_i: is what is generated real?
    recall      share of b_i in the ball of some a_j: is what is real generated?
    density     how many balls of real items an a_j is in, over k: not taken in by one outlier, and may be over 1
    coverage    share of b_i whose own ball holds some a_j

Each is a mean over items of one side, so that its 95% interval is a bootstrap over these; the balls stay as they are.
"""

from __future__ import annotations

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.eval.frechet import check_sides
from audiokd.eval.table import Summary, summarise

NEIGHBOURS = 5
BLOCK = 1024  # rows of distances held at once
ROUNDING = 1e-12  # of a squared distance, in squared norms


def manifold_summaries(a: np.ndarray, b: np.ndarray, k: int = NEIGHBOURS) -> dict[str, Summary]:
    """The four scores.

    Args:
        a, b: features of generated and of real items, [N, D] and [M, D].
        k: neighbours.

    Raises:
        AudiokdError: other numbers of features, or no more than k items on a side.
    """
    check_sides(a, b)
    if k < 1 or min(len(a), len(b)) <= k:
        what = f"{len(a)} generated and {len(b)} real items have no {k} neighbours each"
        raise AudiokdError(what, fix="more items, or a smaller --k from 1")
    centre = b.mean(0, dtype=np.float64)
    a, b = a - centre, b - centre  # what is left are smaller norms, and less rounding
    reach_a, reach_b, of_a, of_b = _reach(a, k), _reach(b, k), _norms(a), _norms(b)
    near, inside = np.zeros(len(a)), np.zeros(len(a), bool)
    recalled, covered = [], []
    for i in range(0, len(b), BLOCK):
        norms, reach = of_b[i : i + BLOCK, None] + of_a, reach_b[i : i + BLOCK, None]
        apart = norms * (1 + ROUNDING) - 2 * (b[i : i + BLOCK] @ a.T)  # what is as far as the ball reaches is out of it
        within = apart < reach
        near += within.sum(0)
        inside |= within.any(0)
        recalled.append((apart < reach_a).any(1))
        covered.append(within.any(1))
    values = {
        "precision": inside.astype(float),
        "recall": np.concatenate(recalled).astype(float),
        "density": near / k,
        "coverage": np.concatenate(covered).astype(float),
    }
    return {name: summarise(v.tolist()) for name, v in values.items()}


def _reach(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance [N] of each row to its k-th nearest other."""
    of, found = _norms(x), []
    for i in range(0, len(x), BLOCK):
        part = x[i : i + BLOCK]
        apart = of[i : i + BLOCK, None] + of - 2 * (part @ x.T)
        rows = np.arange(len(part))
        apart[rows, i + rows] = -np.inf  # at place 0 is the row itself
        found.append(np.maximum(np.partition(apart, k, axis=1)[:, k], 0))
    return np.concatenate(found)


def _norms(x: np.ndarray) -> np.ndarray:
    """Squared [N]: |x - y|^2 = |x|^2 + |y|^2 - 2 xy is one matrix product for all pairs, many times faster than pair by pair."""
    return np.einsum("nd,nd->n", x, x)
