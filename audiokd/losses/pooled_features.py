"""Feature matching at the token rate, as DualCodec (https://arxiv.org/abs/2505.13000) and Mimi (https://arxiv.org/abs/2410.00037):

    mse:    L = mean (A s_t - sg h_t)^2          cosine:  L = mean (1 - cos(A s_t, sg h_t))

s_t: quantised semantic frame, A: a trained projection, h_t: teacher features averaged over the time of token t
(`nn/pooling.py`). Mean over the frames that count, and for mse over feature channels.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from audiokd.nn.lengths import length_mask


def pooled_feature_loss(
    predicted: Tensor, target: Tensor, lengths: Tensor | None = None, kind: Literal["mse", "cosine"] = "mse"
) -> Tensor:
    """Distance of projected tokens to pooled teacher features.

    Args:
        predicted, target: [B, T', D]; no gradient goes to the target.
        lengths: [B] frames that count.
        kind: "mse" (DualCodec) or "cosine" (Mimi).
    """
    target = target.detach()
    if kind == "mse":
        error = (predicted - target).square().mean(-1)
    else:
        error = 1 - F.cosine_similarity(predicted, target, dim=-1)
    if lengths is None:
        return error.mean()
    mask = length_mask(lengths, error.shape[1])
    return (error * mask).sum() / mask.sum()
