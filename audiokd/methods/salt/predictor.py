"""From what the encoder saw to what was hidden from it: the predictor of latents, and the decoder of pixels.

V-JEPA 2's (facebookresearch/vjepa2, src/models/predictor.py), but for the last layer, which goes to the width of the targets and
not back to the encoder's: teacher and student may differ.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from audiokd.nn.axial_rope import rope_angles
from audiokd.nn.block_masks import Masks
from audiokd.nn.rope_vit import EPS, RopeBlock, init_blocks
from audiokd.nn.vit import init_vit, take_rows


class Predictor(nn.Module):
    """Of a hidden patch it is told the place alone: a learnt token of its kind of mask, and a rotary position.

    Args:
        dim_in: width of the encoder.
        dim: own width.
        depth, num_heads: blocks, and heads of each.
        dim_out: of the targets.
        masks: kinds of masks.
        init_std: deviation of the first weights.
    """

    def __init__(
        self, dim_in: int, dim: int, depth: int, num_heads: int, dim_out: int, masks: int, init_std: float = 0.02
    ):
        super().__init__()
        self.embed = nn.Linear(dim_in, dim)
        self.mask_tokens = nn.Parameter(torch.zeros(masks, dim))
        self.blocks = nn.ModuleList(RopeBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, EPS)
        self.out = nn.Linear(dim, dim_out)
        self.head_channels = dim // num_heads
        self.apply(partial(init_vit, std=init_std))
        init_blocks([*self.blocks], init_std)  # type: ignore[list-item]

    def forward(self, context: Tensor, positions: Tensor, masks: Masks, kind: int) -> Tensor:
        """What stands at the hidden places.

        Args:
            context: [B, M, D] of the encoder, at the places `masks.context`.
            positions: [1, N, A] of the grid.
            masks: of kind number `kind`.

        Returns:
            [B, K, dim_out], at the places `masks.target`.
        """
        b, k = masks.target.shape
        x = torch.cat([self.embed(context), self.mask_tokens[kind].expand(b, k, -1).to(context.dtype)], 1)
        rows, order = torch.cat([masks.context, masks.target], 1).sort(1)
        x = take_rows(x, order)
        angles = rope_angles(take_rows(positions.expand(b, -1, -1), rows), self.head_channels)
        for block in self.blocks:
            x = block(x, angles)
        back = order.argsort(1)
        return self.out(take_rows(self.norm(x), back[:, context.shape[1] :]))
