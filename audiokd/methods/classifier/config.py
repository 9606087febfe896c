"""A classifier as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class ClassifierConfig(PreTrainedConfig):
    """An encoder's config and the labels.

    Args:
        encoder: the encoder's config as a dict, `model_type` in it.
        labels: names, in the order of the logits.
        task: class or tags.
        clip_blocks: last blocks of the encoder that the clip embedding is made of.
    """

    model_type = "classifier"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        labels: list[str] | None = None,
        task: str = "class",
        clip_blocks: int = 1,
        **kwargs: Any,
    ):
        self.encoder, self.labels, self.task, self.clip_blocks = encoder or {}, labels or [], task, clip_blocks
        super().__init__(**kwargs)
