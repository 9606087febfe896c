"""VL2V's student as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class VL2VConfig(PreTrainedConfig):
    """A backbone (one of three), and a projection to class vectors or a linear head.

    Args:
        backbone: timm's name of an image backbone.
        encoder: an audio encoder's config as a dict, `model_type` in it.
        tower: of VL2V-SD, what `audiokd.teachers.pair_media.build_media` takes.
        clip_blocks: last blocks of the audio encoder that its clip embedding is made of.
        preprocess: of pictures, `audiokd.vision.transforms.Preprocess` as a dict.
        labels: of the classes, in the order of the logits.
        head: "cosine", a projection (none of a tower) and class vectors; "linear", of the baselines ERM and naive distillation, a
            linear layer on the backbone's features.
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
        backbone: str = "",
        encoder: dict[str, Any] | None = None,
        tower: dict[str, Any] | None = None,
        clip_blocks: int = 1,
        preprocess: dict[str, Any] | None = None,
        labels: list[str] | None = None,
        head: str = "cosine",
        embed_dim: int = 0,
        scale: float = 1.0,
        bank_sha256: str = "",
        left_out: str = "",
        learnt_sha256: str = "",
        **kwargs: Any,
    ):
        self.backbone, self.encoder, self.tower = backbone, encoder or {}, tower or {}
        self.clip_blocks, self.preprocess, self.labels = clip_blocks, preprocess or {}, labels or []
        self.head, self.embed_dim, self.scale = head, embed_dim, scale
        self.bank_sha256, self.left_out, self.learnt_sha256 = bank_sha256, left_out, learnt_sha256
        super().__init__(**kwargs)
