"""Least-squares GAN (https://arxiv.org/abs/1611.04076), summed over the discriminators:

L_D = sum_k mean D_k(fake)^2 + mean (1 - D_k(real))^2,     L_G = sum_k mean (1 - D_k(fake))^2
"""

from __future__ import annotations

from torch import Tensor


def discriminator_loss(fake: list[list[Tensor]], real: list[list[Tensor]]) -> Tensor:
    """`fake`, `real`: each discriminator's feature maps, logits last. The fake audio must be detached."""
    return sum(f[-1].square().mean() + (1 - r[-1]).square().mean() for f, r in zip(fake, real))


def generator_loss(fake: list[list[Tensor]]) -> Tensor:
    """`fake`: each discriminator's feature maps on rebuilt audio, logits last."""
    return sum((1 - f[-1]).square().mean() for f in fake)
