"""How wrong a predicted noise is, as TiUE's fake score learns it (arXiv 2505.21960): mean a_t (e - n)^2."""

from __future__ import annotations

from torch import Tensor


def weighted_noise_error(found: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """A scalar, the mean over all elements.

    Args:
        found: e [B, ...].
        noise: n [B, ...], the true one.
        alpha: a_t [B], the schedule's cumulative product.
    """
    root = alpha.sqrt().reshape((-1,) + (1,) * (found.ndim - 1))
    return (root * (found - noise)).square().mean()
