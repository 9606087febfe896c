"""X-Codec (arXiv 2408.17175), DAC's convolutions beside HuBERT or WavLM, as a tokenizer through transformers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.conv_reach import conv_reach
from audiokd.nn.masked_convs import masked_convs
from audiokd.teachers.base import load_pretrained
from audiokd.teachers.frozen_codec import FrozenCodec, Run, residual_codes, residual_sum
from audiokd.teachers.ssl import SAMPLE_RATE, SSLTeacher


class XcodecTokenizer(FrozenCodec):
    """`encode` and `decode` over a frozen X-Codec, which hears a whole clip at once.

    Each clip is padded with zeros to whole frames, as transformers' feature extractor for it does. In a batch, the semantic
    encoder's norm over time and its attention see a clip's own frames, and what convolutions leave past its end is set to zero
    before the next one: a clip has the codes and the sound that it has alone.

    A recording longer than `window_s` is cut every `window_s` seconds; the windows do not hear each other, and that is what its
    codes are, alone and in any batch. The sound of codes is exact whatever their length.

    Args:
        net: transformers' XcodecModel.

    Raises:
        AudiokdError: its two encoders have not the same frames, or it is not of 16 kHz.
    """

    family = "X-Codec"
    piece_s = window_s = 30.0

    def __init__(self, net: Any):
        config = net.config
        hop, theirs = config.hop_length, math.prod(config.semantic_model_config.conv_stride)
        if config.sample_rate != SAMPLE_RATE or hop != theirs or math.prod(config.strides) != 1:
            what = f"an X-Codec of {config.sample_rate} Hz whose encoders have frames of {hop} and {theirs} samples"
            raise AudiokdError(f"{what} is no tokenizer here", fix="use hf-audio/xcodec-hubert-librispeech or its kin")
        super().__init__(net, config)
        self.decoder_margin = conv_reach(net.acoustic_decoder)
        self.semantic = SSLTeacher(net.semantic_model, normalize=False, layer="mean")

    @classmethod
    def from_pretrained(cls, name: str) -> XcodecTokenizer:
        """From a hub id ("hf-audio/xcodec-hubert-librispeech") or a transformers folder.

        Raises:
            AudiokdError: it cannot be loaded.
        """
        from transformers import XcodecModel

        return cls(load_pretrained(XcodecModel, name, "the X-Codec", dtype=torch.float32))

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        """Hz of the waveform in and out."""
        return self.config.sample_rate

    @property
    def frame_size(self) -> int:  # type: ignore[override]
        """Samples a frame."""
        return self.config.hop_length

    @property
    def streams(self) -> list[int]:  # type: ignore[override]
        """Codes of each stream that there is."""
        return [self.config.codebook_size] * self.config.num_quantizers

    def encoder(self) -> Run:
        """Samples to codes."""

        def run(x: Tensor, frames: Tensor) -> Tensor:
            n, pad = frames * self.frame_size, self.net.pad
            meaning, _ = self.semantic(F.pad(x[:, 0], (pad, pad)), n + 2 * pad)
            meaning, _ = masked_convs(self.net.encoder_semantic, meaning.transpose(1, 2), frames)
            sound, _ = masked_convs(self.net.acoustic_encoder, x, n)
            both = self.net.fc(torch.cat([sound, meaning], 1).transpose(1, 2)).transpose(1, 2)
            return residual_codes(self.net.quantizer.quantizers[: self._num_codebooks], both)

        return run

    def decoder(self) -> Run:
        """Codes to samples."""

        def run(ids: Tensor, frames: Tensor) -> Tensor:
            both = residual_sum(self.net.quantizer.quantizers, ids)
            latent = self.net.fc2(both.transpose(1, 2)).transpose(1, 2)
            return masked_convs(self.net.acoustic_decoder, latent, frames)[0]

        return run
