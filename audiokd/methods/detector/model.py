"""An encoder of frames with a head for sound events: logits of each frame, and of the clip by attention over its frames.

The head is that of ATST-Frame's official fine-tuning, which is the DCASE baseline's (audiossl, utils_dcase/model_dcase.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.detector.config import DetectorConfig
from audiokd.nn.lengths import length_mask
from audiokd.nn.waveforms import check_wav
from audiokd.teachers.trainable import OnEncoder, build_trainable

#: least attention that a frame gets, as officially
LEAST = 1e-7


class DetectorHead(nn.Module):
    r"""Two linear layers on frames: logits of events, and attention.

    .. math:: a_{tc} = \mathrm{softmax}_c(A x_t), \quad p_c = \frac{\sum_t a_{tc}\, \sigma(W x_t)_c}{\sum_t a_{tc}}

    The softmax runs over the classes, not over time: a frame attends to what it is about. (This is called attention or
    "linear softmax" there; it is not the linear softmax pooling that weighs a frame by its own probability.)

    Args:
        dim: of a frame.
        labels: how many.
    """

    def __init__(self, dim: int, labels: int):
        super().__init__()
        self.events = nn.Linear(dim, labels)
        self.attention = nn.Linear(dim, labels)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of frames [B, T', C], zeros past an item's end, and of clips [B, C], from `x` [B, T', D] with `frames` [B].

        A clip's logit is log p / (1 - p) of the probability above, made of sums of logarithms: sure predictions keep their
        gradient.
        """
        valid = length_mask(frames, x.shape[1])[..., None]
        events, attention = self.events(x), self.attention(x)
        with torch.autocast(x.device.type, enabled=False):
            events = events.float().masked_fill(~valid, 0.0)
            weight = attention.float().softmax(-1).clamp(min=LEAST).log().masked_fill(~valid, float("-inf"))
            clips = torch.logsumexp(weight + F.logsigmoid(events), 1) - torch.logsumexp(
                weight + F.logsigmoid(-events), 1
            )
        return events, clips


class DetectorModel(OnEncoder, PreTrainedModel):
    """Logits of sound events from waveforms, or from the encoder's log-mel."""

    config_class = DetectorConfig
    base_model_prefix = "detector"
    #: layers whose dimensions are labels
    logit_layers = ("events", "logits")
    main_input_name = "wav"

    def __init__(self, config: DetectorConfig):
        super().__init__(config)
        if not config.labels or not config.encoder:
            raise AudiokdError("a detector needs labels and an encoder", where="detector config")
        self.encoder: Any = build_trainable(config.encoder)
        self.head = DetectorHead(self.encoder.dim, len(config.labels))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear) and module in (self.head.events, self.head.attention):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """What `extract` can give: logits of frames, logits of the clip, or the encoder's own."""
        return ("events", "logits", *self.encoder.feature_layers)

    def logits_of(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of frames [B, T', C], how many of them count [B], and logits of clips [B, C], of log-mel [B, F, T] with
        `frames` [B] as the encoder's front end gives it."""
        return self._of_frames(*self.encoder.frames_of(mel, frames))

    def _of_frames(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        events, clips = self.head(x, lengths)
        return events, lengths, clips

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """As `logits_of`, of waveforms [B, T] at `sample_rate` with `lengths` [B] samples."""
        if not self.takes_mel:
            return self._of_frames(*self.encoder.extract(wav, lengths, "frames"))
        return self.logits_of(*self.encoder.frontend(wav, check_wav(wav, lengths, wav.device)))

    def extract(self, wav: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers`: [B, T', D] and [B] frames; logits of the clip are one frame."""
        if layer not in self.logit_layers:
            return self.encoder.extract(wav, lengths, layer)
        events, frames, clips = self(wav, lengths)
        return (events, frames) if layer == "events" else (clips[:, None], torch.ones_like(frames))
