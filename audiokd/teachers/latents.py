"""Latents of a frozen encoder of whole grids (clips of video, spectrograms) as targets: SALT's teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiokd.teachers.base import FrozenTeacher


class LatentTeacher(FrozenTeacher):
    """Of grids in the place of waveforms; else as `FrozenTeacher`.

    Args:
        net: grids [B, C, ...] to tokens [B, N, D]; has `dim`.
        num_layers: of it.
    """

    def __init__(self, net: nn.Module, num_layers: int):
        super().__init__(net, num_layers)
        self.dim = int(net.dim)  # type: ignore[arg-type]

    def forward(self, grids: Tensor, lengths: None = None) -> Any:
        """Tokens [B, N, D] of whole grids; nothing is hidden from the teacher."""
        return self.net(grids)

    @torch.no_grad()
    def targets(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`features` [B, N, D] of the grids `grids`."""
        return {"features": self.net(batch["grids"])}
