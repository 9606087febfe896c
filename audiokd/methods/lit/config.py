"""A LiT pair model as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any, Literal

from transformers import PreTrainedConfig

#: model_type of an image tower that is timm's
TIMM = "timm"
VIT = "clip_vision_model"


class LitConfig(PreTrainedConfig):
    """Two towers, and heads that take them into one space.

    Args:
        media: the tower of pictures or sound as a dict: `model_type` timm and timm's `architecture`; a clip_vision_model's config;
            or an audio encoder's (`audiokd.teachers.trainable.shape_of`).
        text_config: config of a text encoder built as BERT is, or a dict of it, `model_type` in it.
        projection_dim: size of an embedding.
        media_hidden, text_hidden: width of the hidden layer of a tower's head; 0 is a linear head.
        clip_blocks: last layers of an audio encoder that its clip embedding is made of.
        preprocess: how pictures are seen, the fields of `audiokd.vision.transforms.Preprocess`.
    """

    model_type = "lit"

    def __init__(
        self,
        media: dict[str, Any] | None = None,
        text_config: dict[str, Any] | PreTrainedConfig | None = None,
        projection_dim: int = 512,
        media_hidden: int = 0,
        text_hidden: int = 0,
        clip_blocks: int = 1,
        preprocess: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        if not isinstance(text_config, PreTrainedConfig):
            from transformers import AutoConfig

            text_config = AutoConfig.for_model(**(text_config or {"model_type": "bert"}))
        self.media, self.text_config, self.projection_dim = media or {}, text_config, projection_dim
        self.media_hidden, self.text_hidden, self.clip_blocks = media_hidden, text_hidden, clip_blocks
        self.preprocess = preprocess or {}
        super().__init__(**kwargs)

    @property
    def pairs(self) -> Literal["image", "audio"]:
        """What is paired with texts."""
        return "image" if self.media.get("model_type") in (TIMM, VIT) else "audio"

    @property
    def vision_config(self) -> Any:
        """Of a ViT, as a CLIPConfig has it; None of other towers."""
        if self.media.get("model_type") != VIT:
            return None
        from transformers import CLIPVisionConfig

        return CLIPVisionConfig.from_dict(self.media)
