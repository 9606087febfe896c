"""HuBERT (arXiv 2106.07447) and its kin as teachers, from raw waveforms: wav2vec 2.0 (2006.11477), WavLM (2110.13900),
data2vec-audio (2202.03555), UniSpeech (2101.07597) and UniSpeech-SAT (2110.05752).

Transformers' own modules run here one by one, so that an item in a padded batch gives what it gives alone: the base models'
first layer norms each channel over time (GroupNorm), which transformers lets run over the padding too; here mean and
variance are taken over the item's own frames. Of an item alone, the features are those of transformers' forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from audiokd.nn.lengths import conv_length, length_mask, zero_beyond
from audiokd.nn.over_time import normed_over_time
from audiokd.teachers.base import FrozenTeacher, Layer, additive_mask, load_pretrained

SAMPLE_RATE = 16000
EPS = 1e-7  # of the waveform's variance, as Wav2Vec2FeatureExtractor has it


class SSLTeacher(FrozenTeacher):
    """Features of a HuBERT, WavLM, wav2vec 2.0, data2vec-audio, UniSpeech or UniSpeech-SAT encoder.

    Args:
        model: transformers' HubertModel, WavLMModel, Wav2Vec2Model, Data2VecAudioModel, UniSpeechModel or UniSpeechSatModel.
        normalize: give each waveform mean 0 and variance 1 (`do_normalize` of the model's preprocessor_config.json).
        layer: 0 is the first layer's input, k after the k-th layer (transformers' `hidden_states[layer]`), "mean" all of
            them; null is the encoder's output, which in the large models comes after a final norm. An adapter on top
            (`add_adapter`) is not run.
    """

    sample_rate = SAMPLE_RATE
    preprocessor: ClassVar[dict[str, str]] = {"normalize": "do_normalize"}

    def __init__(self, model: nn.Module, normalize: bool, layer: Layer = None):
        config = model.config
        super().__init__(model, config.num_hidden_layers, layer)
        self.normalize, self.dim = normalize, config.hidden_size
        self.final_norm = "encoder.layer_norm" if getattr(config, "do_stable_layer_norm", False) else ""
        self.frame_rate = SAMPLE_RATE / prod(config.conv_stride)
        for kernel, stride in reversed([*zip(config.conv_kernel, config.conv_stride)]):
            self.min_samples = (self.min_samples - 1) * stride + kernel

    @classmethod
    def from_pretrained(cls, name: str, layer: Layer = None) -> SSLTeacher:
        """From a hub id ("facebook/hubert-base-ls960") or a transformers folder with preprocessor_config.json."""
        from transformers import AutoModel, Wav2Vec2FeatureExtractor

        model = load_pretrained(AutoModel, name, "the model", dtype=torch.float32)
        extractor = load_pretrained(Wav2Vec2FeatureExtractor, name, "preprocessor_config.json")
        return cls(model, extractor.do_normalize, layer)

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features [B, T', D] of `wav` [B, T] at 16 kHz: as many as the convolutions give (none below 400 samples)."""
        if lengths is None:
            lengths = torch.full((wav.shape[0],), wav.shape[-1], device=wav.device)
        with torch.autocast(wav.device.type, enabled=False):
            x, frames = self._convolve(self._normed(wav, lengths), lengths)
            x = self.net.feature_projection(x.transpose(1, 2))
            x = x[0] if isinstance(x, tuple) else x
            feature = self._pick(self._states(x, frames))
            feature = zero_beyond(feature.transpose(1, 2), frames).transpose(1, 2)
        return feature[:, : int(frames.max())].float(), frames

    def _normed(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """[B, T] -> [B, 1, T], zero past each item's end, which moves neither mean nor variance."""
        x = wav.to(self.net.feature_projection.projection.weight.dtype)[:, None]
        if self.normalize:
            x = normed_over_time(x, lengths, EPS)
        # a batch of less than one frame is padded to it
        return nn.functional.pad(zero_beyond(x, lengths), (0, max(0, self.min_samples - x.shape[-1])))

    def _convolve(self, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 1, T] -> [B, C, T'], and [B] frames of each. Unpadded convolutions: an item's frames see its samples alone."""
        for layer in self.net.feature_extractor.conv_layers:
            n = conv_length(n, layer.conv.kernel_size[0], layer.conv.stride[0])
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):  # a group a channel: over time
                x = normed_over_time(layer.conv(x), n, norm.eps)
                x = layer.activation(x * norm.weight[:, None] + norm.bias[:, None])
            else:
                x = layer(x)
        return x, n

    def _positions(self, x: Tensor, frames: Tensor) -> Tensor:
        """What the convolutions say of where a frame is, from projected features `x` [B, D, T'] with zeros past each item."""
        position = self.net.encoder.pos_conv_embed
        if hasattr(position, "layers"):  # data2vec: several, each with a norm, which leaves no zeros past an item
            for layer in position.layers:
                x = layer(zero_beyond(x, frames))
            return x
        norm = getattr(position, "batch_norm", None)
        y = position.conv(x if norm is None else zero_beyond(norm(x), frames))
        return position.activation(position.padding(y))

    def _states(self, x: Tensor, frames: Tensor) -> Iterator[Tensor]:
        """transformers' `hidden_states` from projected features [B, T', D], or what `_state` makes of them."""
        encoder = self.net.encoder
        x = zero_beyond(x.transpose(1, 2), frames)
        x = (x + self._positions(x, frames)).transpose(1, 2)
        if not self.final_norm:  # the same norm stands before the layers
            x = encoder.layer_norm(x)
        yield self._state(0, x)
        wavlm = self.net.config.model_type == "wavlm"  # takes the mask as it is, and hands its position bias on
        mask = length_mask(frames, x.shape[1]) if wavlm else additive_mask(frames, x)
        if bool((frames == x.shape[1]).all()):
            mask = None
        bias = None
        for k, layer in enumerate(encoder.layers, 1):
            if wavlm:
                x, bias = layer(x, attention_mask=mask, position_bias=bias)
            else:
                x = layer(x, attention_mask=mask)
            yield self._state(k, x)
