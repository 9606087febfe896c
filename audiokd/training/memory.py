"""How much memory a step needs, before it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

#: of a parameter in AdamW: itself, its gradient, two moments, float32
ADAMW_BYTES = 16


def saved_bytes(run: Callable[[], Any], parameters: Iterable[nn.Parameter]) -> int:
    """Bytes that autograd keeps of `run` for the backward pass, each storage counted once, `parameters` not at all."""
    known = {p.untyped_storage().data_ptr() for p in parameters}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no storage is counted as another's that was freed

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = run()
    total = sum(kept.values())
    del out
    return total
