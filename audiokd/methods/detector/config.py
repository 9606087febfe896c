"""A detector as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class DetectorConfig(PreTrainedConfig):
    """An encoder's config and the labels.

    Args:
        encoder: the encoder's config as a dict, `model_type` in it.
        labels: names, in the order of the logits.
    """

    model_type = "detector"
    #: any number of labels at once, of a frame and of a clip
    task = "tags"

    def __init__(self, encoder: dict[str, Any] | None = None, labels: list[str] | None = None, **kwargs: Any):
        self.encoder, self.labels = encoder or {}, labels or []
        super().__init__(**kwargs)
