"""Drawing a corpus of unlike labels evenly: an utterance the more often, the rarer its labels are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


def balance_weights(labels: Sequence[Sequence[str]]) -> np.ndarray:
    r"""Probability of each utterance, in proportion to the sum over its labels of 1 / utterances that have the label.

    .. math:: w_i \propto \sum_{c \in L_i} \frac{1}{n_c}

    Source: balanced sampling of AST (Gong et al., arXiv 2104.01778).

    Args:
        labels: of each utterance; one without any counts as one whose only label is the commonest.

    Returns:
        float64 [N] that sums to 1.
    """
    counts = Counter(n for of in labels for n in set(of))
    least = 1 / max(counts.values(), default=1)
    w = np.array([sum(1 / counts[n] for n in set(of)) or least for of in labels], dtype=np.float64)
    return w / w.sum()
