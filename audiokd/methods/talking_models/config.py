"""A student as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class TalkConfig(PreTrainedConfig):
    """A body with a linear head.

    Args:
        body: what it is built on (`audiokd.methods.talking_models.students`).
        labels: of the classes, in the order of the logits; none of ratings.
        task: class, or rating: one number.
    """

    model_type = "talking_models"

    def __init__(
        self, body: dict[str, Any] | None = None, labels: list[str] | None = None, task: str = "class", **kwargs: Any
    ):
        self.body, self.labels, self.task = body or {}, labels or [], task
        super().__init__(**kwargs)
