"""Area under the ROC curve of tags: how often a clip that has a tag scores above one that has not."""

from __future__ import annotations

from torch import Tensor


def mean_roc_auc(scores: Tensor, tags: Tensor) -> float:
    """Mean over tags; those that all rows or none have are left out, NaN if no other is there.

    Args:
        scores: [N, C], higher is likelier; equal scores count half.
        tags: [N, C] of 0 and 1.
    """
    found = []
    for s, t in zip(scores.double().t(), tags.bool().t()):
        positives = int(t.sum())
        if 0 < positives < len(t):
            # ranks from 1, the mean of those that tie
            _, place, count = s.unique(return_inverse=True, return_counts=True)
            last = count.cumsum(0)
            rank = (last - (count - 1) / 2)[place]
            above = rank[t].sum() - positives * (positives + 1) / 2
            found.append(float(above / (positives * (len(t) - positives))))
    return sum(found) / len(found) if found else float("nan")
