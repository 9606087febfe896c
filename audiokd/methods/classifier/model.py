"""An encoder with a linear head: batch norm without weights, then one linear layer on the clip embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.classifier.config import ClassifierConfig
from audiokd.nn.batch_norm import SyncBatchNorm1d
from audiokd.nn.waveforms import check_wav
from audiokd.teachers.trainable import OnEncoder, build_trainable


class ClassifierModel(OnEncoder, PreTrainedModel):
    """Logits of labels from waveforms, or from the encoder's log-mel."""

    config_class = ClassifierConfig
    base_model_prefix = "classifier"
    #: layers whose dimensions are labels
    logit_layers = ("logits",)
    main_input_name = "wav"

    def __init__(self, config: ClassifierConfig):
        super().__init__(config)
        if not config.labels or not config.encoder:
            raise AudiokdError("a classifier needs labels and an encoder", where="classifier config")
        self.encoder: Any = build_trainable(config.encoder)
        dim = self.encoder.clip_dim(config.clip_blocks)
        self.norm = SyncBatchNorm1d(dim, affine=False)
        self.head = nn.Linear(dim, len(config.labels))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if module is getattr(self, "head", None):
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.zeros_(self.head.bias)

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """What `extract` can give: the logits, or the encoder's own."""
        return ("logits", *self.encoder.feature_layers)

    def logits_of(self, mel: Tensor, frames: Tensor) -> Tensor:
        """Logits [B, C] of log-mel as the encoder's front end gives it, [B, F, T] with `frames` [B]."""
        clip = self.encoder.clip_of(mel, frames, self.config.clip_blocks)
        return self.head(self.norm(clip))

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits [B, C] of waveforms [B, T] at `sample_rate` with `lengths` [B] samples."""
        if self.takes_mel:
            return self.logits_of(*self.encoder.frontend(wav, check_wav(wav, lengths, wav.device)))
        return self.head(self.norm(self.encoder.extract_features(wav, lengths, self.config.clip_blocks).clip))

    def extract(self, wav: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers`: [B, T', D] and [B] frames; logits are one frame."""
        if layer != "logits":
            return self.encoder.extract(wav, lengths, layer)
        return self(wav, lengths)[:, None], torch.ones(len(wav), dtype=torch.long, device=wav.device)
