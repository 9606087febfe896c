"""VL2V's student: a body, a linear projection into the space of a pair model's texts, and its class vectors.

It needs neither the pair model nor a text to be used. The baselines that learn no such space have a linear head instead.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.vl2v_adip.config import VL2VConfig
from audiokd.nn.tables import KeepsTables
from audiokd.teachers.student_body import OnBody, StudentBody, build_body


class Answer(NamedTuple):
    """Of a batch: the projected embeddings [B, D] (with a linear head the body's features), and logits [B, C]."""

    embedding: Tensor
    logits: Tensor


class VL2VModel(KeepsTables, OnBody, PreTrainedModel):
    """Logits of classes from pictures or sound.

    Args:
        config: of it.
        body: with weights; built at random as the config has it by default.

    Raises:
        AudiokdError: no classes, a body of no known kind, or no such head.
    """

    config_class = VL2VConfig
    base_model_prefix = "vl2v"
    main_input_name = "pixel_values"
    feature_layers = ("logits", "embedding")
    #: layers whose dimensions are labels
    logit_layers = ("logits",)

    def __init__(self, config: VL2VConfig, body: StudentBody | None = None):
        super().__init__(config)
        if not config.labels or config.head not in ("cosine", "linear"):
            raise AudiokdError("labels, and a head that is cosine or linear are due", where="vl2v config")
        with self.tables():
            self.body = build_body(config.body) if body is None else body
        if config.head == "linear":
            self.head = nn.Linear(self.body.dim, len(config.labels))
        else:
            own = config.body["body"] == "pair"  # its embeddings are in the space
            self.projection = nn.Identity() if own else nn.Linear(self.body.dim, config.embed_dim)
            self.register_buffer("class_vectors", torch.zeros(len(config.labels), config.embed_dim))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the parts have begun by themselves."""

    @property
    def labels(self) -> list[str]:
        """Of the classes, in the order of the logits."""
        return self.config.labels

    def answer(self, **view: Tensor) -> Answer:
        """Embeddings and logits of a view, as the body takes it."""
        x = self.body(view)
        if self.config.head == "linear":
            return Answer(x, self.head(x))
        z = self.projection(x)
        with torch.autocast(z.device.type, enabled=False):  # bfloat16 would round the cosines of near classes to one
            return Answer(z, self.config.scale * F.normalize(z.float(), dim=-1) @ self.class_vectors.float().T)

    def forward(self, **view: Tensor) -> Tensor:
        """Logits [B, C] of a view: scale * cosine(P f(x), T_c), or the linear head's."""
        return self.answer(**view).logits

    def extract(self, x: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers` as one frame an item.

        Args:
            x: pictures [B, 3, H, W] as `preprocess` has them, or waveforms [B, T] at `sample_rate`.
            lengths: [B] samples of waveforms; all of T by default.
            layer: "logits", or "embedding" (of length 1 with a cosine head).

        Returns:
            [B, 1, D], and [B] ones.
        """
        found = self.answer(**self.body.view_of(x, lengths))
        if layer == "logits":
            out = found.logits
        else:
            out = found.embedding if self.config.head == "linear" else F.normalize(found.embedding, dim=-1)
        return out[:, None], torch.ones(len(out), dtype=torch.long, device=x.device)
