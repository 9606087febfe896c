"""How far predicted noise is from standard noise, map by map (TiUE, arXiv 2505.21960): KL(N(mu, s^2) || N(0, 1)).

mu and s^2 (unbiased) are of all numbers of a map. The official code sums over maps, so that a step of T time steps and B pictures
weighs T B times what this mean does: its weight of 0.1 is 0.1 T B here.
"""

from __future__ import annotations

from torch import Tensor

TINY = 1e-12  # of a variance, whose logarithm is taken


def noise_kl(maps: Tensor) -> Tensor:
    """The mean over maps of 1/2 (mu^2 + s^2 - 1 - log s^2); zero for maps of mean 0 and variance 1.

    Args:
        maps: [N, ...].
    """
    x = maps.flatten(1)
    variance = x.var(1).clamp(min=TINY)
    return (0.5 * (x.mean(1).square() + variance - 1 - variance.log())).mean()
