"""VL2V's student: a backbone, a linear projection into the space of a pair model's texts, and its class vectors.

It needs neither the pair model nor a text to be used. The baselines that learn no such space have a linear head instead.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.vl2v_adip.config import VL2VConfig
from audiokd.nn.tables import KeepsTables
from audiokd.nn.waveforms import check_wav
from audiokd.teachers.pair_media import build_media
from audiokd.teachers.trainable import build_trainable
from audiokd.vision.backbones import load_backbone
from audiokd.vision.transforms import Preprocess


class Answer(NamedTuple):
    """Of a batch: the projected embeddings [B, D] (with a linear head the backbone's features), and logits [B, C]."""

    embedding: Tensor
    logits: Tensor


class VL2VModel(KeepsTables, PreTrainedModel):
    """Logits of classes from pictures or sound.

    Raises:
        AudiokdError: no classes, not one backbone, or no such head.
    """

    config_class = VL2VConfig
    base_model_prefix = "vl2v"
    main_input_name = "pixel_values"
    feature_layers = ("logits", "embedding")
    #: layers whose dimensions are labels
    logit_layers = ("logits",)

    def __init__(self, config: VL2VConfig):
        super().__init__(config)
        made_of = [bool(x) for x in (config.backbone, config.encoder, config.tower)]
        if not config.labels or sum(made_of) != 1 or config.head not in ("cosine", "linear"):
            what = "labels, one of backbone, encoder and tower, and a head that is cosine or linear are due"
            raise AudiokdError(what, where="vl2v config")
        with self.tables():
            self.backbone: Any = _backbone(config)
        if config.encoder:
            dim = self.backbone.clip_dim(config.clip_blocks)
        else:
            dim = self.backbone.dim
        if config.head == "linear":
            self.head = nn.Linear(dim, len(config.labels))
        else:
            self.projection = nn.Identity() if config.tower else nn.Linear(dim, config.embed_dim)
            self.register_buffer("class_vectors", torch.zeros(len(config.labels), config.embed_dim))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the parts have begun by themselves."""

    @property
    def kind(self) -> Literal["image", "audio"]:
        """What it takes."""
        return "audio" if self.config.encoder or getattr(self.backbone, "sample_rate", 0) else "image"

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become `pixel_values`."""
        return Preprocess(**self.config.preprocess)

    @property
    def labels(self) -> list[str]:
        """Of the classes, in the order of the logits."""
        return self.config.labels

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in; 0 of pictures."""
        return self.backbone.sample_rate if self.kind == "audio" else 0

    @property
    def min_samples(self) -> int:
        """Samples that a clip needs in `extract`; a shorter one in `forward` is padded."""
        return self.backbone.min_samples if self.config.encoder else 1

    @property
    def max_duration_s(self) -> float | None:
        """Seconds that a clip may have; None is any."""
        return getattr(self.backbone, "max_duration_s", None)

    @property
    def frame_size(self) -> int:
        """Samples a frame of the encoder; of a CLAP's tower, which has one embedding a clip, those of its window."""
        return self.backbone.frame_size if self.config.encoder else self.backbone.window_samples

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.frame_size

    def features(self, **view: Tensor) -> Tensor:
        """The backbone's features [B, d] of a view: `pixel_values` [B, 3, H, W]; `wav` [B, T] with `lengths` [B]; of a
        pair model of sound what its `preprocess` gives."""
        if self.config.backbone:
            return self.backbone(view["pixel_values"])
        if self.config.tower:
            return self.backbone.embed_media(view)
        wav, fewest = view["wav"], self.backbone.min_samples
        wav = F.pad(wav, (0, max(0, fewest - wav.shape[-1])))
        return self.backbone.extract_features(wav, view["lengths"].clamp(min=fewest), self.config.clip_blocks).clip

    def answer(self, **view: Tensor) -> Answer:
        """Embeddings and logits of a view, as `features` takes it."""
        x = self.features(**view)
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
        if self.kind == "image":
            view = {"pixel_values": x}
        else:
            n = check_wav(x, lengths, x.device)
            view = {"wav": x, "lengths": n}
            if self.config.tower:
                view = self.backbone.preprocess([w[:k] for w, k in zip(x.cpu(), n.tolist())])
        found = self.answer(**view)
        if layer == "logits":
            out = found.logits
        else:
            out = found.embedding if self.config.head == "linear" else F.normalize(found.embedding, dim=-1)
        return out[:, None], torch.ones(len(out), dtype=torch.long, device=x.device)


def _backbone(config: VL2VConfig) -> nn.Module:
    if config.backbone:
        return load_backbone(config.backbone)
    return build_trainable(config.encoder) if config.encoder else build_media(config.tower)
