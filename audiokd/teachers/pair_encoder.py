"""A pair model as an encoder: `audiokd extract PAIR ... --layer embedding` writes what it says of whole, plain items."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from audiokd.teachers.pair import ContrastivePair
from audiokd.teachers.zero_shot import NamesMedia
from audiokd.vision.transforms import Preprocess, preprocess_of


class PairEncoder(NamesMedia, nn.Module):
    """The media side of a `ContrastivePair`, frozen, with the face of an encoder of one frame an item.

    Its weights, and so the hash in a store, are those of the whole pair model: class vectors of the same model have the same.

    Args:
        pair: frozen.
    """

    feature_layers = ("embedding",)
    logit_layers = ()

    def __init__(self, pair: ContrastivePair):
        super().__init__()
        self.pair, self.config, self.kind = pair, pair.net.config, pair.kind
        self.eval()

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of the pair model."""
        return self.pair.state_dict(*args, **kwargs)

    def forward(self, inputs: dict[str, Tensor] | Tensor) -> Tensor:
        """Embeddings [B, D] of what the pair model's preprocessing gave, or of pictures [B, 3, H, W] as `preprocess` makes them."""
        return self.embed(inputs if isinstance(inputs, dict) else {"pixel_values": inputs})

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become `pixel_values`."""
        return preprocess_of(self.pair.processor)
