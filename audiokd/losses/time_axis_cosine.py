"""Feature matching along time, one channel at a time (SpeechTokenizer, https://arxiv.org/abs/2308.16692, section 3.2):

    L = - 1/D sum_d log sigmoid(cos(A s[:, d], sg h[:, d]))

s: quantised semantic stream, A: a trained projection, h: teacher features, both as sequences over an item's frames. The
official code computes this (the paper's formula differs in its axes, SpeechTokenizer issue 2), with weight 120.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from audiokd.nn.lengths import length_mask


def time_axis_cosine_loss(predicted: Tensor, target: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over items and channels.

    Args:
        predicted, target: [B, T', D]; no gradient goes to the target.
        lengths: [B] frames that count; the others are zeros to the cosine.
    """
    target = target.detach()
    if lengths is not None:
        mask = length_mask(lengths, predicted.shape[1])[..., None]
        predicted, target = predicted * mask, target * mask
    return -F.logsigmoid(F.cosine_similarity(predicted, target, dim=1)).mean()
