"""Wilson's interval of a share (E. B. Wilson, 1927): sound near 0 and 1 and for few trials, unlike the normal one.

centre = (k + z^2 / 2) / (n + z^2)
half width = z / (n + z^2) * sqrt(k (n - k) / n + z^2 / 4)
"""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of `right` of `n` trials, n over 0.

    Args:
        right: trials that went right.
        n: all of them.
        level: of confidence.

    Returns:
        Its ends, in [0, 1].
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(right * (n - right) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)
