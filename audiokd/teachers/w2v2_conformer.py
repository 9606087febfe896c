"""wav2vec 2.0 with conformer layers (fairseq S2T, arXiv 2010.05171) as a teacher: facebook/wav2vec2-conformer-*.

Waveform, convolutions and projection are wav2vec 2.0's. Transformers lets the depthwise convolution of a layer run over the
padding; here zeros lie past each item's end, as they do when it is alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.nn.lengths import length_mask, zero_beyond
from audiokd.teachers.base import Layer, additive_mask
from audiokd.teachers.ssl import SSLTeacher


class Wav2Vec2ConformerTeacher(SSLTeacher):
    """Features of a wav2vec 2.0 conformer, with relative or rotary positions.

    Each layer ends in a norm of its own, and one more follows the last layer.

    Args:
        model: transformers' Wav2Vec2ConformerModel.
        normalize: as SSLTeacher has it.
        layer: as SSLTeacher has it.
    """

    def __init__(self, model: nn.Module, normalize: bool, layer: Layer = None):
        super().__init__(model, normalize, layer)
        self.final_norm = "encoder.layer_norm"

    def _states(self, x: Tensor, frames: Tensor) -> Iterator[Tensor]:
        """transformers' `hidden_states` from projected features [B, T', D], or what `_state` makes of them."""
        encoder, inside = self.net.encoder, length_mask(frames, x.shape[1])
        x = x.masked_fill(~inside[..., None], 0.0)
        # kept from call to call: made in inference mode, no training step could use it
        with torch.inference_mode(False):
            position = None if encoder.embed_positions is None else encoder.embed_positions(x)
        mask = None if bool(inside.all()) else additive_mask(frames, x)
        yield self._state(0, x)
        for k, layer in enumerate(encoder.layers, 1):
            x = _conformer(layer, x, frames, mask, position)
            yield self._state(k, x)


def _conformer(layer: Any, x: Tensor, frames: Tensor, mask: Tensor | None, position: Tensor | None) -> Tensor:
    """Wav2Vec2ConformerEncoderLayer's forward of `x` [B, T', D], its convolution kept to each item's `frames` [B]."""
    x = x + 0.5 * layer.ffn1(layer.ffn1_layer_norm(x))
    y, _ = layer.self_attn(layer.self_attn_layer_norm(x), attention_mask=mask, relative_position_embeddings=position)
    x = x + layer.self_attn_dropout(y)
    conv = layer.conv_module
    y = conv.glu(conv.pointwise_conv1(conv.layer_norm(x).transpose(1, 2)))
    y = conv.batch_norm(conv.depthwise_conv(zero_beyond(y, frames)))
    x = x + conv.dropout(conv.pointwise_conv2(conv.activation(y))).transpose(1, 2)
    return layer.final_layer_norm(x + 0.5 * layer.ffn2(layer.ffn2_layer_norm(x)))
