"""S3A's model as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig


class S3AConfig(PreTrainedConfig):
    """The media side of a pair model, and the vocabulary that it classifies by.

    Args:
        media: what `audiokd.teachers.pair_media.build_media` takes.
        labels: names of the vocabulary, in the order of the logits.
        scale: what cosines are multiplied by.
        kind: what is named, "image" or "audio".
        dim: size of an embedding.
        preprocess: of pictures, the fields of `audiokd.vision.transforms.Preprocess`.
        bank_sha256: of the model whose text encoder made the names' vectors.
    """

    model_type = "s3a"
    #: one name an item, for stores of logits
    task = "class"

    def __init__(
        self,
        media: dict[str, Any] | None = None,
        labels: list[str] | None = None,
        scale: float = 100.0,
        kind: str = "image",
        dim: int = 512,
        preprocess: dict[str, Any] | None = None,
        bank_sha256: str = "",
        **kwargs: Any,
    ):
        self.media, self.labels, self.scale, self.kind, self.dim = media or {}, labels or [], scale, kind, dim
        self.preprocess, self.bank_sha256 = preprocess or {}, bank_sha256
        super().__init__(**kwargs)
