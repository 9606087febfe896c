"""Masked regression: mean |z - h|^p / p over everything that was hidden.

p = 1 is the L1 loss of V-JEPA 2 (facebookresearch/vjepa2, app/vjepa/train.py) and of SALT (arXiv 2509.24317); p = 2 half the
squared error. Targets may be normalised over their channels first, without weights, as V-JEPA 2 does.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def masked_regression(prediction: Tensor, target: Tensor, power: int = 1) -> Tensor:
    """The loss, scalar: a mean over items, tokens and channels.

    Args:
        prediction, target: [B, K, D] of the hidden tokens.
        power: p.
    """
    return (prediction.float() - target.float()).abs().pow(power).mean() / power


def normalised(target: Tensor, eps: float = 1e-5) -> Tensor:
    """`target` [..., D] with mean 0 and variance 1 over the last axis: latents over channels, or the numbers of a patch."""
    return F.layer_norm(target.float(), target.shape[-1:], eps=eps)
