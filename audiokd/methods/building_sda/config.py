"""A segmentation network as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class BuildingConfig(PreTrainedConfig):
    """An encoder-decoder network for one class.

    Args:
        network: of `audiokd.vision.segmenter.NETWORKS`.
        encoder: timm's name.
        size: height and width that it was trained on, pixels; it takes any.
        mean, std: of each channel, as the encoder's weights were trained to see pictures.
        labels: the class.
    """

    model_type = "building_sda"

    def __init__(
        self,
        network: str = "unet",
        encoder: str = "resnet18",
        size: tuple[int, int] = (256, 256),
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
        labels: list[str] | None = None,
        **kwargs: Any,
    ):
        self.network, self.encoder, self.size = network, encoder, tuple(size)
        self.mean, self.std, self.labels = tuple(mean), tuple(std), labels or ["building"]
        super().__init__(**kwargs)
