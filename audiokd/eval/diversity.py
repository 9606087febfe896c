"""How much what is generated for one condition differs: the mean Euclidean distance of features of two of its items.

The mean is over pairs of a condition, then over conditions; the 95% interval is a bootstrap over conditions. Of one item again and
again it is 0. Real items of the same conditions say what it could be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audiokd.eval.table import Summary, summarise

MOST = 1000  # items of a condition that are compared


def diversity(x: np.ndarray, conditions: Sequence[str]) -> Summary:
    """Of features [N, D] and the condition of each; conditions of one item have no value and are counted as `none`."""
    from scipy.spatial.distance import pdist

    given = np.asarray(conditions)
    values = []
    for name in dict.fromkeys(conditions):
        rows = x[given == name][:MOST]
        values.append(float(pdist(rows).mean()) if len(rows) > 1 else None)
    return summarise(values)
