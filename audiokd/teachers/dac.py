"""DAC (arXiv 2306.06546), Descript's codec at 16, 24 and 44.1 kHz, as a tokenizer through transformers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from audiokd.nn.conv_reach import conv_reach
from audiokd.nn.lengths import zero_beyond
from audiokd.nn.masked_convs import masked_convs
from audiokd.teachers.base import load_pretrained
from audiokd.teachers.frozen_codec import FrozenCodec, Run


class DacTokenizer(FrozenCodec):
    """`encode` and `decode` over a frozen DAC, whose convolutions hear both sides.

    Each clip is padded with zeros to whole frames, as transformers' DacFeatureExtractor does. In a batch, what the convolutions
    leave past a clip's end is set to zero before the next one, as is alone: a clip has the codes and the sound that it has alone.
    Long recordings go through in pieces that overlap by what the convolutions can hear: they have the codes of the whole.

    Args:
        net: transformers' DacModel.
    """

    family = "DAC"

    def __init__(self, net: Any):
        super().__init__(net, net.config)
        self.encoder_margin = conv_reach(net.encoder) // self.frame_size + 1
        self.decoder_margin = conv_reach(net.decoder)

    @classmethod
    def from_pretrained(cls, name: str) -> DacTokenizer:
        """From a hub id ("descript/dac_16khz", dac_24khz, dac_44khz) or a transformers folder.

        Raises:
            AudiokdError: it cannot be loaded.
        """
        from transformers import DacModel

        return cls(load_pretrained(DacModel, name, "the DAC", dtype=torch.float32))

    @property
    def frame_size(self) -> int:  # type: ignore[override]
        """Samples a frame."""
        return math.prod(self.config.downsampling_ratios)

    @property
    def streams(self) -> list[int]:  # type: ignore[override]
        """Codes of each stream that there is."""
        return [self.config.codebook_size] * self.config.n_codebooks

    def encoder(self) -> Run:
        """Samples to codes."""

        def run(x: Tensor, frames: Tensor) -> Tensor:
            latent, _ = masked_convs(self.net.encoder, x, frames * self.frame_size)
            return self.net.quantizer(latent, self._num_codebooks)[1]

        return run

    def decoder(self) -> Run:
        """Codes to samples. Odd strides end a few samples early, which are zeros in a batch as they are alone."""
        return lambda ids, frames: zero_beyond(
            *masked_convs(self.net.decoder, self.net.quantizer.from_codes(ids)[0], frames)
        )
