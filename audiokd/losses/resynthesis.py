"""Semantic resynthesis distillation (LM-SPT, arXiv 2506.16738):

    L = mean (E(aux(s)) - sg E(x))^2      E: frozen ASR encoder on log-mel, s: the semantic stream, x: the clip

Mean over feature channels and over the frames that count (all 1,500 in a full window; an item's own in a crop).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from audiokd.nn.lengths import length_mask


def resynthesis_loss(
    predicted: Tensor, target: Tensor, lengths: Tensor | None = None, kind: Literal["mse", "l1"] = "mse"
) -> Tensor:
    """Distance of teacher features.

    Args:
        predicted, target: [B, T', D]; no gradient goes to the target.
        lengths: [B] frames that count.
        kind: "mse", or "l1" as the official code offers.
    """
    difference = predicted - target.detach()
    error = difference.square() if kind == "mse" else difference.abs()
    if lengths is None:
        return error.mean()
    mask = length_mask(lengths, error.shape[1])[..., None]
    return (error * mask).sum() / (mask.sum() * error.shape[-1])
