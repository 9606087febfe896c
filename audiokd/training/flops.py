"""What a training step costs: floating point operations of one whole step, counted by torch.

A fused attention kernel may count as nothing, so the math one is taken while it is counted. Only matrix products and convolutions
are counted (two operations a multiplication and addition), as by torch.utils.flop_counter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_flops(step: Callable[[], Any]) -> int:
    """Operations of what `step` does: forward, backward, and a teacher's forward if it runs one. Tensors on the meta device do, and
    cost no time."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())
