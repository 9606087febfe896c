"""Feature matching (https://arxiv.org/abs/1910.06711): sum over discriminators and their layers of mean |F(fake) - sg F(real)|.

Not divided by the number of layers, as in the official LM-SPT code (audio.md C3); logits are left out.
"""

from __future__ import annotations

from torch import Tensor


def feature_matching_loss(fake: list[list[Tensor]], real: list[list[Tensor]]) -> Tensor:
    """`fake`, `real`: each discriminator's feature maps, logits last."""
    return sum((f - r.detach()).abs().mean() for fs, rs in zip(fake, real) for f, r in zip(fs[:-1], rs[:-1]))
