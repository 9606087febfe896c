r"""Nine losses of a mask of one class, by segmentation_models_pytorch; sums are over all pixels of the batch.

With p the probability, y the mask, TP = sum p y, FP = sum p (1 - y), FN = sum (1 - p) y:

    bce          :math:`-\frac{1}{BHW} \sum y \log p + (1 - y) \log(1 - p)`
    dice         :math:`1 - 2TP / (2TP + FP + FN)`
    jaccard      :math:`1 - TP / (TP + FP + FN)`
    focal        :math:`-\frac{1}{BHW} \sum (1 - p_y)^\gamma \log p_y`, p_y the probability of the true answer (arXiv 1708.02002)
    tversky      :math:`1 - TP / (TP + \alpha FP + \beta FN)` (arXiv 1706.05721)
    lovasz       the hinge's Lovasz extension of 1 - IoU (arXiv 1705.08790, Algorithm 1)
    bce_dice, bce_jaccard, focal_dice    the sum of two

dice, jaccard and tversky of a batch without one pixel of the class are 0, with no gradient: smp leaves them undefined there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

MaskLoss: TypeAlias = Literal[
    "bce", "dice", "jaccard", "focal", "tversky", "lovasz", "bce_dice", "bce_jaccard", "focal_dice"
]


def mask_loss(
    name: MaskLoss, gamma: float = 2.0, alpha: float = 0.3, beta: float = 0.7
) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of logits [B, H, W] and masks [B, H, W] of 0 and 1: a scalar, in float32 whatever the autocast.

    Args:
        name: as the head of this file has them.
        gamma: of focal.
        alpha: of tversky, the weight of a false positive.
        beta: of tversky, of a false negative.

    Raises:
        ValueError: no such loss; and of the loss, other shapes.
    """
    from segmentation_models_pytorch import losses as smp

    known: dict[str, Callable[[], torch.nn.Module]] = {
        "bce": smp.SoftBCEWithLogitsLoss,
        "dice": lambda: smp.DiceLoss("binary"),
        "jaccard": lambda: smp.JaccardLoss("binary"),
        "focal": lambda: smp.FocalLoss("binary", gamma=gamma),
        "tversky": lambda: smp.TverskyLoss("binary", alpha=alpha, beta=beta),
        "lovasz": lambda: smp.LovaszLoss("binary"),
    }
    if not set(name.split("_")) <= known.keys():
        raise ValueError(f"no loss {name!r} of masks: {', '.join(MaskLoss.__args__)}")  # type: ignore[attr-defined]
    parts = [known[part]() for part in name.split("_")]

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        if logits.shape != masks.shape:
            raise ValueError(f"logits {list(logits.shape)}, masks {list(masks.shape)}")
        with torch.autocast(logits.device.type, enabled=False):
            x, y = logits.float()[:, None], masks.float()[:, None]
            return torch.stack([part(x, y) for part in parts]).sum()

    return loss
