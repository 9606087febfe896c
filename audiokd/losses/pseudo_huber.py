"""The distance that consistency distillation learns by (arXiv 2310.14189, section 3.3; LCM's code): mean sqrt(d^2 + c^2) - c."""

from __future__ import annotations

from torch import Tensor


def pseudo_huber(found: Tensor, target: Tensor, c: float) -> Tensor:
    """A scalar, the mean over all elements: of small differences their square over 2 c, of large ones their size.

    Args:
        found, target: of one shape; the gradient passes to both.
        c: where it turns from one to the other.
    """
    return ((found - target).square() + c**2).sqrt().sub(c).mean()
