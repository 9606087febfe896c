"""S3A's model: the media side of a pair model, trained whole, and the frozen vectors of a vocabulary's names.

It names pictures or sound by cosine with vectors that the pair model's text encoder made once: no text model is needed to use it.
Untrained it is the pair model itself, classifying by the whole vocabulary (zero-shot).
"""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import nn
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.s3a.config import S3AConfig
from audiokd.nn.tables import KeepsTables
from audiokd.teachers.pair import ContrastivePair
from audiokd.teachers.pair_media import build_media, copy_media, media_shape
from audiokd.teachers.text_bank import TextBank
from audiokd.teachers.zero_shot import NamesMedia
from audiokd.vision.transforms import Preprocess, preprocess_of


class S3AModel(NamesMedia, KeepsTables, PreTrainedModel):
    """Logits of a vocabulary's names from pictures or sound. Its weights can be trained, but for the names' vectors.

    Attributes:
        pair: a `ContrastivePair` without its text side.
        class_vectors: [V, D] of the names.

    Raises:
        AudiokdError: no names, or no pair model.
    """

    config_class = S3AConfig
    base_model_prefix = "s3a"
    main_input_name = "pixel_values"

    def __init__(self, config: S3AConfig):
        super().__init__(config)
        if not config.labels or not config.media:
            raise AudiokdError("an S3A model needs names and a pair model", where="s3a config")
        with self.tables():
            self.pair = build_media(config.media)
        self.register_buffer("class_vectors", torch.zeros(len(config.labels), config.dim))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the tower is loaded."""

    @property
    def kind(self) -> str:
        """What it names: "image" or "audio"."""
        return self.config.kind

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become `pixel_values`."""
        return Preprocess(**self.config.preprocess)

    @property
    def labels(self) -> list[str]:
        """Names in the order of the logits."""
        return self.config.labels

    @property
    def scale(self) -> float:  # type: ignore[override]
        """What cosines with the names' vectors are multiplied by."""
        return self.config.scale


def model_of(pair: ContrastivePair, bank: TextBank) -> S3AModel:
    """The untrained model of `pair`, whose weights are copied, and the names of `bank`.

    Raises:
        AudiokdError: vectors of another size than the pair model's embeddings.
    """
    if bank.vectors.shape[1] != pair.dim:
        what = f"a text bank of {bank.vectors.shape[1]} dimensions, the pair model has {pair.dim}"
        raise AudiokdError(what, where=pair.name, fix="make the bank with this model")
    config = S3AConfig(
        media=media_shape(pair),
        labels=list(bank.names),
        scale=bank.scale,
        kind=pair.kind,
        dim=pair.dim,
        preprocess=asdict(preprocess_of(pair.processor)) if pair.kind == "image" else None,
        bank_sha256=bank.model_sha256,
    )
    model = S3AModel(config)
    copy_media(pair, model.pair)
    model.class_vectors.copy_(bank.vectors)
    return model.eval()
