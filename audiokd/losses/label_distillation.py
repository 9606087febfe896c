r"""A teacher's labels mixed with the true ones: how ATST-C2F hands a fine-tuned ATST-Clip to ATST-Frame.

.. math:: \mathcal{L} = \lambda\, \ell(s, p) + (1 - \lambda)\, \ell(s, y)

with the student's logits s, true labels y, the teacher's probabilities p (the mean over several teachers), and l binary
cross-entropy with p = sigmoid(t) for tags or mixed labels, cross-entropy with p = softmax(t) for single classes. What a teacher
says of two clips apart is mixed as p, like the labels, never as t. Source: Li et al., arXiv 2306.04186, section III-D; audiossl,
atstframe/module_distill.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError


def label_loss(logits: Tensor, labels: Tensor, kind: Literal["binary", "softmax"]) -> Tensor:
    """Cross-entropy against probabilities.

    Args:
        logits: [B, C].
        labels: [B, C] in [0, 1]; for softmax they sum to 1.
        kind: binary, the mean over clips and labels; softmax, the mean over clips.
    """
    with torch.autocast(logits.device.type, enabled=False):
        if kind == "binary":
            return F.binary_cross_entropy_with_logits(logits.float(), labels.float())
        return F.cross_entropy(logits.float(), labels.float())


def probabilities(logits: Tensor, kind: Literal["binary", "softmax"]) -> Tensor:
    """What `label_loss` of that kind takes `logits` [..., C] for; float32, without gradients."""
    logits = logits.detach().float()
    return logits.sigmoid() if kind == "binary" else logits.softmax(-1)


def label_distillation_loss(
    logits: Tensor,
    labels: Tensor,
    teachers: Sequence[Tensor],
    weight: float,
    kind: Literal["binary", "softmax"],
) -> Tensor:
    """The mixed loss.

    Args:
        logits: the student's [B, C].
        labels: true ones [B, C] in [0, 1].
        teachers: `probabilities` [B, C] of each teacher.
        weight: lambda, the teachers' share.
        kind: see `label_loss`.

    Raises:
        AudiokdError: a teacher has other labels than the student.
    """
    if not teachers or not weight:
        return label_loss(logits, labels, kind)
    for t in teachers:
        if t.shape != logits.shape:
            raise AudiokdError(
                f"the teacher gives probabilities {list(t.shape)}, the student logits {list(logits.shape)}"
            )
    taught = torch.stack(list(teachers)).mean(0)
    return weight * label_loss(logits, taught, kind) + (1 - weight) * label_loss(logits, labels, kind)
