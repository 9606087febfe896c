r"""Symmetric contrastive loss of pairs (InfoNCE both ways, as CLIP, arXiv 2103.00020, and LiT, arXiv 2111.07991, train by).

.. math:: \mathcal{L} = -\frac{1}{2B} \sum_b \Big(\log \frac{e^{s z_b \cdot t_b}}{\sum_{k \in N_b} e^{s z_b \cdot t_k}}
    + \log \frac{e^{s z_b \cdot t_b}}{\sum_{k \in N_b} e^{s z_k \cdot t_b}}\Big)

N_b is b itself and all pairs of another group: two pictures of one caption are no negatives of each other, and no positives either,
so that every row has one positive, as in the papers, where N_b is the whole batch (UniCL, arXiv 2204.03610, shares the target).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive_loss(media: Tensor, texts: Tensor, scale: Tensor | float, groups: Tensor) -> Tensor:
    """The mean over pairs and both ways, scalar, in float32 whatever the autocast.

    Args:
        media: embeddings z [B, D] of length 1.
        texts: embeddings t [B, D] of length 1, in the same order.
        scale: s, what a cosine is multiplied by.
        groups: [B] integers, the same for pairs of the same caption.
    """
    with torch.autocast(media.device.type, enabled=False):
        logits = scale * media.float() @ texts.float().T
    same = groups[:, None] == groups
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
