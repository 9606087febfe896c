"""Buffers that are in no file of weights, such as tables of positions, kept over transformers' way of loading.

`from_pretrained` builds a model on torch's meta device, and fills what is missing by the model's own rules. Of networks that are
not its own (timm's, ours) it knows none: such a table would hold whatever lay in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class KeepsTables:
    """Beside PreTrainedModel, in front of it: what is built within `with self.tables():` has its tables after loading, too."""

    named_non_persistent_buffers: Callable[[], Iterator[tuple[str, Tensor]]]
    get_buffer: Callable[[str], Tensor]

    @contextmanager
    def tables(self) -> Iterator[None]:
        """Parts that are made within have real values, whatever device the model is built on."""
        with torch.device("cpu"):
            yield
        # past nn.Module's registry: they are nothing that moves or is saved
        self.__dict__["_tables"] = {k: v.clone() for k, v in self.named_non_persistent_buffers()}

    def initialize_weights(self) -> None:
        """What transformers calls when it has loaded."""
        parent: Any = super()
        parent.initialize_weights()
        with torch.no_grad():
            for name, value in self.__dict__["_tables"].items():
                self.get_buffer(name).copy_(value)
