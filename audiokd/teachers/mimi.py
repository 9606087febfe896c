"""Mimi (arXiv 2410.00037), Kyutai's codec of 12.5 frames a second, as a tokenizer through transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.nn.held_convs import HeldConvs
from audiokd.teachers.base import load_pretrained
from audiokd.teachers.frozen_codec import FrozenCodec, Run


class MimiTokenizer(FrozenCodec):
    """`encode` and `decode` over a frozen Mimi, whose convolutions and windowed attention look back only.

    Each clip is padded with zeros to whole frames, as Kyutai's own code does: in a batch it has then the codes that it has alone.
    transformers pads inside the network instead, so that the last code of a clip that ends in mid-frame may differ from its.
    Long recordings go through in pieces, and attention keeps its window of keys and values: they have the codes of the whole.
    All codebooks are given by default, as transformers does; Kyutai speak of 8 (1.1 kbit/s).

    Args:
        net: transformers' MimiModel.

    Raises:
        AudiokdError: a model that is stereo, not causal, or lacks its encoder or decoder.
    """

    family = "Mimi"

    def __init__(self, net: Any):
        config = net.config
        if config.audio_channels != 1 or not config.use_causal_conv:
            raise AudiokdError("a Mimi of stereo, or not causal, is no tokenizer here", fix="use kyutai/mimi")
        if net.encoder is None or net.decoder is None:
            raise AudiokdError("a Mimi without its encoder or decoder is no tokenizer", fix="use the whole kyutai/mimi")
        super().__init__(net, config)

    @classmethod
    def from_pretrained(cls, name: str) -> MimiTokenizer:
        """From a hub id ("kyutai/mimi") or a transformers folder.

        Raises:
            AudiokdError: it cannot be loaded.
        """
        from transformers import MimiModel

        return cls(load_pretrained(MimiModel, name, "the Mimi", dtype=torch.float32))

    def _apply(self, fn: Any, recurse: bool = True) -> FrozenCodec:
        for layer in self.net.modules():
            if hasattr(layer, "_embed"):  # made once of other tensors, and left behind where those move
                layer._embed = None
        return super()._apply(fn, recurse)

    @property
    def frame_size(self) -> int:  # type: ignore[override]
        """Samples a frame."""
        return self.config.frame_size

    @property
    def streams(self) -> list[int]:  # type: ignore[override]
        """Codes of each stream that there is; the first is distilled from WavLM."""
        return [self.config.codebook_size] * self.config.num_quantizers

    def encoder(self) -> Run:
        """Samples to codes, piece after piece."""
        net = self.net.encoder
        stride = self.config.latent_stride
        convs, down = HeldConvs(net.encoder_seanet, self.frame_size // stride), HeldConvs(net.downsample, stride)
        attend = _Attention(net.encoder_transformer)
        wanted = max(self._num_codebooks, self.config.num_semantic_quantizers)  # it gives no fewer

        def run(x: Tensor, _: Tensor) -> Tensor:
            codes = self.net.quantizer.encode(down(attend(convs(x))), wanted)
            return codes[: self._num_codebooks].transpose(0, 1)

        return run

    def decoder(self) -> Run:
        """Codes to samples, piece after piece."""
        net = self.net.decoder
        stride = self.config.latent_stride
        up, attend = HeldConvs(net.upsample, out_size=stride), _Attention(net.decoder_transformer)
        convs = HeldConvs(net.decoder_seanet, out_size=self.frame_size // stride)
        return lambda ids, _: convs(attend(up(self.net.quantizer.decode(ids))))


class _Attention:
    """A transformer [B, D, t] to the same, which goes on where the piece before ended, with the keys and values of its window."""

    def __init__(self, net: nn.Module):
        from transformers import DynamicCache

        self.net: Any = net
        self.cache = DynamicCache(config=self.net.config)

    def __call__(self, x: Tensor) -> Tensor:
        found = self.net(x.transpose(1, 2), past_key_values=self.cache, use_cache=True)
        return found.last_hidden_state.transpose(1, 2)
