"""A segmentation network that says of each pixel whether a building is there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from audiokd.methods.building_sda.config import BuildingConfig
from audiokd.nn.tables import KeepsTables
from audiokd.vision.mask_views import pixels
from audiokd.vision.segmenter import Segmenter, build_segmenter
from audiokd.vision.transforms import Preprocess


class BuildingModel(KeepsTables, PreTrainedModel):
    """Logits [B, H, W] of pictures [B, 3, H, W] of any size.

    Args:
        config: of it.
        segmenter: with weights; built at random as the config has it by default.
    """

    config_class = BuildingConfig
    base_model_prefix = "building_sda"
    main_input_name = "pixel_values"
    kind = "image"
    feature_layers = ("logits", "probability")

    def __init__(self, config: BuildingConfig, segmenter: Segmenter | None = None):
        super().__init__(config)
        with self.tables():
            self.segmenter = build_segmenter(config.network, config.encoder) if segmenter is None else segmenter
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the network has begun by itself."""

    @property
    def labels(self) -> list[str]:
        """The class."""
        return self.config.labels

    @property
    def preprocess(self) -> Preprocess:
        """How it sees pictures; `view` does it, without resizing."""
        return Preprocess(self.config.size, self.config.mean, self.config.std, crop=1.0)

    def view(self, picture: Any) -> Tensor:
        """float32 [3, H, W] of a picture in RGB, its own size."""
        return pixels(picture, self.config.mean, self.config.std)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """As of the class."""
        return self.segmenter(pixel_values)

    def extract(self, x: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers`: a picture's rows are its frames, [B, T' = H, D = W], and [B] numbers of rows.

        Args:
            x: pictures [B, 3, H, W] as `view` has them.
            lengths: pictures have none.
            layer: "logits", or "probability", the logits' sigmoid.
        """
        found = self.segmenter(x)
        found = found.sigmoid() if layer == "probability" else found
        return found, torch.full((len(x),), found.shape[1], dtype=torch.long, device=x.device)


def new_model(network: str, encoder: str, weights: str, size: tuple[int, int]) -> BuildingModel:
    """A model whose encoder has `weights`, and whose decoder begins at random."""
    segmenter = build_segmenter(network, encoder, weights)
    name = encoder.removeprefix("tu-")
    config = BuildingConfig(network, name, size, segmenter.mean, segmenter.std)
    return BuildingModel(config, segmenter)
