"""PromptKD's student as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class PromptKDConfig(PreTrainedConfig):
    """A body with prompts, a projector, and the teacher's class vectors.

    Args:
        body: what the student is built on (`audiokd.teachers.student_body`).
        labels: of the classes, in the order of the logits.
        teacher_dim: size of the teacher's class vectors.
        prompts: tokens a layer; 0 for none.
        prompt_depth: layers that have tokens of their own.
        projector_hidden: widths between the body's output and the teacher's space; none is a linear projector.
        scale: what cosines are multiplied by, the student's own.
        bank_sha256: of the model whose text encoder made the class vectors.
        preprocess: fields of `audiokd.vision.transforms.Preprocess`, how the tower was trained to see pictures.
    """

    model_type = "promptkd"
    task = "class"

    def __init__(
        self,
        body: dict[str, Any] | None = None,
        labels: list[str] | None = None,
        teacher_dim: int = 768,
        prompts: int = 4,
        prompt_depth: int = 9,
        projector_hidden: tuple[int, ...] = (768,),
        scale: float = 100.0,
        bank_sha256: str = "",
        preprocess: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        self.body, self.labels, self.teacher_dim = body or {}, labels or [], teacher_dim
        self.prompts, self.prompt_depth = prompts, prompt_depth
        self.projector_hidden, self.scale, self.bank_sha256 = tuple(projector_hidden), scale, bank_sha256
        self.preprocess = preprocess or {}
        super().__init__(**kwargs)
