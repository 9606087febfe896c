"""A teacher is frozen once, here: eval, no gradient of its own, in no optimiser, in no state_dict, and it stays so."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class FrozenTeacher(nn.Module):
    """A module that holds `net` out of torch's sight.

    `net` follows `.to(device)`, but `parameters()`, `state_dict()` and `train()` of anything that holds the teacher never
    reach it; gradients still pass through it to its input.

    Attributes:
        sample_rate: Hz of the waveform it takes.
        frame_rate: frames a second of its features.
        dim: channels of its features.
    """

    sample_rate: int
    frame_rate: float
    dim: int

    def __init__(self, net: nn.Module):
        super().__init__()
        self.__dict__["net"] = net.eval().requires_grad_(False)  # past nn.Module's registry, on purpose

    def _apply(self, fn: Any, recurse: bool = True) -> FrozenTeacher:
        self.net._apply(fn)
        return super()._apply(fn, recurse)

    def targets(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the student learns from, without gradient: `batch` holds `wav` [B, T] at `sample_rate` and `lengths` [B]."""
        raise NotImplementedError
