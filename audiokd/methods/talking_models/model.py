"""The student: what stays of Talking Models at inference. It knows no message, no teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.talking_models.config import TalkConfig
from audiokd.methods.talking_models.students import build_student
from audiokd.nn.tables import KeepsTables
from audiokd.teachers.student_body import OnBody


class TalkModel(KeepsTables, OnBody, PreTrainedModel):
    """Logits of classes from pictures or sound, or a rating of a movie by a user.

    Args:
        config: of it.
        body: with weights; built at random as the config has it by default.

    Raises:
        AudiokdError: no classes, or a body of no known kind.
    """

    config_class = TalkConfig
    base_model_prefix = "talking_models"
    main_input_name = "pixel_values"
    feature_layers = ("logits", "embedding")
    #: layers whose dimensions are labels
    logit_layers = ("logits",)

    def __init__(self, config: TalkConfig, body: Any = None):
        super().__init__(config)
        if (config.task == "class") != bool(config.labels):
            raise AudiokdError("labels are due of classes, and none of ratings", where="talking_models config")
        with self.tables():
            self.body = build_student(config.body) if body is None else body
        self.head = nn.Linear(self.body.dim, len(config.labels) or 1)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the parts have begun by themselves."""

    @property
    def labels(self) -> list[str]:
        """Of the classes, in the order of the logits."""
        return self.config.labels

    def forward(self, **view: Tensor) -> Tensor:
        """Logits [B, C] of a view, as the body takes it; of ratings [B]."""
        out = self.head(self.body(view))
        return out if self.config.task == "class" else out[:, 0]

    def extract(self, x: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers` as one frame an item.

        Args:
            x: pictures [B, 3, H, W] as `preprocess` has them, or waveforms [B, T] at `sample_rate`.
            lengths: [B] samples of waveforms; all of T by default.
            layer: "logits", or "embedding", the body's output.

        Returns:
            [B, 1, D], and [B] ones.
        """
        found = self.body(self.body.view_of(x, lengths))
        found = self.head(found) if layer == "logits" else found
        return found[:, None], torch.ones(len(found), dtype=torch.long, device=x.device)
