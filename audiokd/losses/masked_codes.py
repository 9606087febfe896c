"""Prediction of codes at masked frames (HuBERT, arXiv 2106.07447, eq. 1; MERT, arXiv 2306.00107, eq. 2).

.. math:: L = \\sum_q \\frac{1}{N} \\sum_n -\\log p_q(c_{q n} | n)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_codes(logits: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each codebook and how often its likeliest code is right.

    Args:
        logits: [Q, N, V] of the frames that count.
        codes: [Q, N] ids.

    Returns:
        The mean over frames of each codebook [Q], to be summed over codebooks, and accuracies [Q]; both 0 where no frame counts.
    """
    if not logits.shape[1]:
        nothing = logits.sum() + logits.new_zeros(len(logits))  # of the graph, so that every process has a gradient
        return nothing, torch.zeros_like(nothing)
    loss = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view_as(codes).mean(1)
    return loss, (logits.detach().argmax(-1) == codes).float().mean(1)
