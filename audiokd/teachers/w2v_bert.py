"""w2v-BERT 2.0 (arXiv 2312.05187) as a teacher: a conformer on stacked log-mel frames, 50 features a second.

Front end and network give what transformers' SeamlessM4TFeatureExtractor and Wav2Vec2BertModel give for an item alone, and
the same in a padded batch; the front end here passes the gradient on to the waveform.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.frontends.kaldi_fbank import HOP_LENGTH, SAMPLE_RATE, WIN_LENGTH, KaldiFbank
from audiokd.nn.lengths import conv_length, length_mask
from audiokd.teachers.base import FrozenTeacher, Layer, additive_mask, load_pretrained

STACK = 2  # log-mel frames side by side in one feature
EPS = 1e-7


class W2VBertTeacher(FrozenTeacher):
    """Features of a w2v-BERT 2.0 encoder.

    Args:
        model: transformers' Wav2Vec2BertModel.
        layer: 0 is the first layer's input, k after the k-th layer (transformers' `hidden_states[layer]`; DualCodec takes
            17), "mean" all of them, null the last. Every layer ends in a norm of its own, and none follows the last. An adapter
            on top (`add_adapter`) is not run.
    """

    sample_rate = SAMPLE_RATE
    frame_rate = SAMPLE_RATE / (HOP_LENGTH * STACK)
    min_samples = WIN_LENGTH + (STACK - 1) * HOP_LENGTH

    def __init__(self, model: nn.Module, layer: Layer = None):
        super().__init__(model, model.config.num_hidden_layers, layer)
        self.dim = model.config.hidden_size
        self.fbank = KaldiFbank(model.config.feature_projection_input_dim // STACK)

    @classmethod
    def from_pretrained(cls, name: str, layer: Layer = None) -> W2VBertTeacher:
        """From a hub id ("facebook/w2v-bert-2.0") or a transformers folder."""
        from transformers import Wav2Vec2BertModel

        return cls(load_pretrained(Wav2Vec2BertModel, name, "a w2v-BERT 2.0 model", dtype=torch.float32), layer)

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features [B, T', D] of `wav` [B, T] at 16 kHz: half as many as whole log-mel frames (none below 560 samples)."""
        if lengths is None:
            lengths = torch.full((wav.shape[0],), wav.shape[-1], device=wav.device)
        with torch.autocast(wav.device.type, enabled=False):
            x, frames = self.front_end(wav, lengths)
            x, _ = self.net.feature_projection(x.to(self.net.feature_projection.projection.weight.dtype))
            feature = self._pick(self._states(x, frames))
            return (feature * length_mask(frames, feature.shape[1])[..., None]).float(), frames

    def front_end(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel with mean 0 and variance 1 over each item's own frames, a bin at a time, stacked: [B, T', 2 n_mels]."""
        n = conv_length(lengths, WIN_LENGTH, HOP_LENGTH)
        frames = n // STACK
        size = max(int(n.max()), STACK)
        x = self.fbank(F.pad(wav, (0, max(0, WIN_LENGTH + (size - 1) * HOP_LENGTH - wav.shape[-1]))))[:, :size]
        mask = length_mask(n, size)[..., None]
        count = n.clamp(min=1)[:, None, None]
        centred = x - (x * mask).sum(1, keepdim=True) / count
        variance = (centred.square() * mask).sum(1, keepdim=True) / (count - 1).clamp(min=1)
        x = centred * torch.rsqrt(variance + EPS) * mask
        size = max(int(frames.max()), 1)
        return x[:, : size * STACK].reshape(x.shape[0], size, -1), frames

    def _states(self, x: Tensor, frames: Tensor) -> Iterator[Tensor]:
        """transformers' `hidden_states` from projected features [B, T', D]."""
        encoder, inside = self.net.encoder, length_mask(frames, x.shape[1])
        x = x.masked_fill(~inside[..., None], 0.0)
        with torch.inference_mode(
            False
        ):  # it is kept from call to call: made in inference mode, no training step could use it
            position = None if encoder.embed_positions is None else encoder.embed_positions(x)
        mask = None if bool(inside.all()) else additive_mask(frames, x)
        yield x
        for layer in encoder.layers:
            x = layer(x, attention_mask=mask, relative_position_embeddings=position, conv_attention_mask=inside)
            yield x
