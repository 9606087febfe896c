"""What a step needs, from one item run through the network at no more than 16 x 16 positions: maps grow with the area."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from audiokd.methods.tiue.module import DiffusionModule
from audiokd.training.memory import ADAMW_BYTES, saved_bytes

MOST = 16  # positions along a side


Run = Callable[[Tensor, dict[str, Any]], Any]


def step_memory(
    module: DiffusionModule, run: Run, shape: tuple[int, ...], judge: Callable[[], Any] | None = None
) -> str:
    """A line that says it.

    Args:
        module: on the CPU.
        run: the student's forward on noise [1, C, H, W] and its conditions, and what else the gradient passes that grows with it.
        shape: [C, H, W] that it is trained at.
        judge: what it passes beside, for one item, at a size of its own.
    """
    held = item_bytes(module, run, shape, judge) * module.settings.data.batch_size
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for part in module.frozen() for p in part.parameters() if not p.requires_grad)
    averages = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    fixed = ADAMW_BYTES * trained + 4 * (frozen + averages)
    at_most = "at most " if module.settings.distill.checkpointing else ""
    return (
        f"tiue: {trained / 1e6:.2f} M parameters learn, {(frozen + averages) / 1e6:.2f} M stand by; a step needs about "
        f"{(fixed + held) / 2**30:.2f} GiB a device: {fixed / 2**30:.2f} of weights, gradients and Adam, {at_most}"
        f"{held / 2**30:.2f} of activations of {module.settings.data.batch_size} items of {shape[1]} x {shape[2]} in float32"
    )


def item_bytes(
    module: DiffusionModule, run: Run, shape: tuple[int, ...], judge: Callable[[], Any] | None = None
) -> int:
    """What autograd keeps of one item, as `step_memory` has it; weights, frozen ones too, are counted elsewhere."""
    sides = [min(side, MOST) for side in shape[1:]]
    scale = shape[1] * shape[2] / (sides[0] * sides[1])
    weights = [*module.parameters(), *(p for part in module.frozen() for p in part.parameters())]
    state = torch.get_rng_state()
    told = module.pipeline.conditions([None])
    held = saved_bytes(lambda: run(torch.randn(1, shape[0], *sides), told), weights)
    torch.set_rng_state(state)
    return round(held * scale) + (saved_bytes(judge, weights) if judge else 0)
