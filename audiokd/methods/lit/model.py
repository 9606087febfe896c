"""A pair model of a tower of pictures or sound and a text encoder (LiT, arXiv 2111.07991), with the face of CLIPModel.

The text embedding is a head on the mean over a text's words, the media embedding one on what the tower pools itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from audiokd.errors import AudiokdError
from audiokd.methods.lit.config import TIMM, VIT, LitConfig
from audiokd.nn.lengths import zero_beyond
from audiokd.nn.pooling import masked_mean
from audiokd.nn.tables import KeepsTables
from audiokd.nn.windows import window_of
from audiokd.teachers.trainable import build_trainable
from audiokd.vision.backbones import load_backbone

#: model_type of text encoders whose embeddings and layers are BERT's
TEXT_TOWERS = ("bert", "roberta", "xlm-roberta")
#: 1 / temperature as CLIP begins with it, and the most that it may be
FIRST_SCALE, MOST_SCALE = 1 / 0.07, 100.0


class LitModel(KeepsTables, PreTrainedModel):
    """Embeddings of pictures or sound, and of texts, in one space.

    Attributes:
        vision_model, visual_projection: of a model of pictures.
        audio_model, audio_projection: of a model of sound.
        text_model, text_projection: of texts.
        logit_scale: log of what a cosine is multiplied by.

    Raises:
        AudiokdError: no media tower, or a text encoder that is not built as BERT is.
    """

    config_class = LitConfig
    base_model_prefix = "lit"
    main_input_name = "input_ids"

    def __init__(self, config: LitConfig):
        super().__init__(config)
        text, media = config.text_config, config.media
        if not media or text.model_type not in TEXT_TOWERS:
            known = ", ".join(TEXT_TOWERS)
            what = f"a LiT model needs a media tower and a text encoder ({known}), not {text.model_type}"
            raise AudiokdError(what, where="lit config")
        dim = config.projection_dim
        with self.tables():
            if media.get("model_type") == TIMM:
                self.vision_model: Any = load_backbone(media["architecture"])
                self.visual_projection = head(self.vision_model.dim, config.media_hidden, dim)
            elif media.get("model_type") == VIT:
                from transformers import CLIPVisionModel

                self.vision_model = CLIPVisionModel(config.vision_config)
                self.visual_projection = head(config.vision_config.hidden_size, config.media_hidden, dim)
            else:
                self.audio_model: Any = build_trainable(media)
                self.audio_projection = head(self.audio_model.clip_dim(config.clip_blocks), config.media_hidden, dim)
            from transformers import AutoModel

            self.text_model: Any = AutoModel.from_config(text, add_pooling_layer=False)
        self.text_projection = head(text.hidden_size, config.text_hidden, dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: towers and heads have begun by themselves."""

    @property
    def media_tower(self) -> nn.Module:
        """What pictures or sound go through before their head."""
        return self.vision_model if self.config.pairs == "image" else self.audio_model

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in; 0 of a model of pictures."""
        return 0 if self.config.pairs == "image" else self.audio_model.sample_rate

    @property
    def min_samples(self) -> int:
        """Samples that a waveform needs."""
        return self.audio_model.min_samples

    @property
    def max_samples(self) -> int:
        """Samples that a waveform may have; longer ones are cut into windows."""
        return round(window_of(self.audio_model)[0] * self.sample_rate)

    def get_image_features(self, pixel_values: Tensor) -> BaseModelOutputWithPooling:
        """`pooler_output` [B, D] of pictures [B, 3, H, W], of any length, as CLIP's."""
        pooled = self.vision_model(pixel_values)
        if not isinstance(pooled, Tensor):
            pooled = pooled.pooler_output
        return BaseModelOutputWithPooling(pooler_output=self.visual_projection(pooled))

    def get_audio_features(self, wav: Tensor, lengths: Tensor | None = None) -> BaseModelOutputWithPooling:
        """`pooler_output` [B, D] of waveforms [B, T] at `sample_rate` with `lengths` [B] samples, however short.

        Raises:
            AudiokdError: a waveform that cannot be, or is longer than the encoder takes.
        """
        if lengths is None:
            lengths = torch.full((len(wav),), wav.shape[-1], device=wav.device)
        least = self.min_samples
        wav = F.pad(zero_beyond(wav[:, None], lengths)[:, 0], (0, max(0, least - wav.shape[-1])))
        clip = self.audio_model.extract_features(wav, lengths.clamp(min=least), self.config.clip_blocks).clip
        return BaseModelOutputWithPooling(pooler_output=self.audio_projection(clip))

    def pool_texts(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """What the text encoder makes of texts [N, T], before the head: the mean over each one's words [N, H]."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.text_model(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return masked_mean(states, mask)

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> BaseModelOutputWithPooling:
        """`pooler_output` [N, D] of texts [N, T], of any length."""
        return BaseModelOutputWithPooling(
            pooler_output=self.text_projection(self.pool_texts(input_ids, attention_mask))
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **media: Tensor) -> Tensor:
        """Logits [B, N]: scaled cosines of B pictures or waveforms, given as `get_image_features` or `get_audio_features` takes
        them, with N texts."""
        of_media = self.get_image_features if self.config.pairs == "image" else self.get_audio_features
        seen = F.normalize(of_media(**media).pooler_output, dim=-1)
        read = F.normalize(self.get_text_features(input_ids, attention_mask).pooler_output, dim=-1)
        return self.logit_scale.exp() * seen @ read.T

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Keep the scale at 100 or below, as CLIP does after every update."""
        self.logit_scale.clamp_(max=math.log(MOST_SCALE))


def head(in_dim: int, hidden: int, out_dim: int) -> nn.Module:
    """A linear layer without bias, as CLIP's; with `hidden` two layers and a GELU between them."""
    if not hidden:
        return nn.Linear(in_dim, out_dim, bias=False)
    return nn.Sequential(nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, out_dim))
