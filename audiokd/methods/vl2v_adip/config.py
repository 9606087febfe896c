"""VL2V's student as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class VL2VConfig(PreTrainedConfig):
    """A body, and a projection to class vectors or a linear head.

    Args:
        body: what the student is built on (`audiokd.teachers.student_body`); of VL2V-SD the pair model's own media side.
        labels: of the classes, in the order of the logits.
        head: "cosine", a projection (none on a pair model's side) and class vectors; "linear", of the baselines ERM and naive
            distillation, a linear layer on the body's features.
        embed_dim: of the class vectors; 0 for a linear head.
        scale: what cosines are multiplied by, the teacher's.
        bank_sha256: of the model whose text encoder made the class vectors.
        left_out: domain that was kept out of training.
        learnt_sha256: of the ids of the items that were trained on.
    """

    model_type = "vl2v"
    task = "class"

    def __init__(
        self,
        body: dict[str, Any] | None = None,
        labels: list[str] | None = None,
        head: str = "cosine",
        embed_dim: int = 0,
        scale: float = 1.0,
        bank_sha256: str = "",
        left_out: str = "",
        learnt_sha256: str = "",
        **kwargs: Any,
    ):
        self.body, self.labels = body or {}, labels or []
        self.head, self.embed_dim, self.scale = head, embed_dim, scale
        self.bank_sha256, self.left_out, self.learnt_sha256 = bank_sha256, left_out, learnt_sha256
        super().__init__(**kwargs)
