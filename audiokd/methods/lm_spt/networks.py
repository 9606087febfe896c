"""What an LM-SPT model is made of: its networks as the config has them, the training forward, and the latents of a batch.

The parts are the config's: by default the released architecture (DAC encoders and decoders), else the paper's first version
(a transformer after each encoder, Vocos decoders). model.py makes a tokenizer of them; README.md has the constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.nn.codec.bottleneck import Bottleneck
from audiokd.nn.codec.dac import Decoder, Encoder
from audiokd.nn.codec.tokenizer import CodecTokenizer
from audiokd.nn.codec.vocos import VocosDecoder
from audiokd.nn.lengths import fit_length, zero_beyond
from audiokd.nn.quantizers.rvq import ResidualVQ
from audiokd.nn.quantizers.split import SplitQuantized, SplitQuantizer


@dataclass
class LMSPTOutput:
    """A training forward: rebuilt `wav` [B, T], `semantic_wav` [B, T_aux] from the semantic stream alone, and the quantiser's."""

    wav: Tensor
    semantic_wav: Tensor
    quantized: SplitQuantized


class LMSPTNetworks(PreTrainedModel, CodecTokenizer):
    """Encoders, quantiser, decoders, and how they are trained; the tokenizer is LMSPTModel."""

    config_class = LMSPTConfig
    base_model_prefix = "lm_spt"
    main_input_name = "wav"

    def __init__(self, config: LMSPTConfig):
        super().__init__(config)
        c = config
        self.semantic_encoder = _encoder(c)
        if not c.shared_encoder:
            self.acoustic_encoder = _encoder(c)
        self.quantizer = SplitQuantizer(
            ResidualVQ(
                c.latent_dim,
                c.n_semantic_codebooks,
                c.semantic_codebook_size,
                c.semantic_codebook_dim,
                bypass=c.quantizer_bypass,
                fsq_levels=c.fsq_levels if c.semantic_quantizer == "fsq" else (),
            ),
            ResidualVQ(
                c.latent_dim,
                c.n_codebooks - c.n_semantic_codebooks,
                c.acoustic_codebook_size,
                c.acoustic_codebook_dim,
                c.quantizer_dropout,
            ),
            c.semantic_subtraction,
        )
        aux_size = self.frame_size * c.aux_sample_rate // c.sample_rate
        if c.decoder_type == "vocos":
            self.decoder = VocosDecoder(
                c.latent_dim, c.decoder_dim, c.decoder_layers, c.decoder_rates, self.frame_size, c.causal
            )
        else:
            shape = (c.residual_kernel_size, c.dilations)
            self.decoder = Decoder(c.latent_dim, c.decoder_dim, c.decoder_rates, *shape, causal=c.causal)
        if c.aux_type == "vocos":
            self.aux_decoder = VocosDecoder(c.latent_dim, c.aux_dim, c.aux_layers, c.aux_rates, aux_size, c.causal)
        else:
            self.aux_decoder = Decoder(c.latent_dim, c.aux_dim, c.aux_rates, causal=c.causal)
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: every part starts as torch starts it, as the official code does."""

    @property
    def frame_size(self) -> int:
        """Samples a frame."""
        return math.prod(self.config.encoder_rates)

    def forward(self, wav: Tensor, cut_aux: bool = False) -> LMSPTOutput:
        """Rebuild waveforms; both outputs last as long as the input.

        Args:
            wav: [B, T] float32 at `sample_rate`, in [-1, 1].
            cut_aux: no gradient from the auxiliary decoder to the semantic stream.
        """
        size = wav.shape[-1]
        x = F.pad(wav, (0, -size % self.frame_size))[:, None]
        z_semantic, _ = self.semantic_encoder(x)
        z_acoustic = z_semantic if self.config.shared_encoder else self.acoustic_encoder(x)[0]
        q = self.quantizer(z_semantic, z_acoustic)
        rebuilt, _ = self.decoder(q.z)
        semantic, _ = self.aux_decoder(q.z_semantic.detach() if cut_aux else q.z_semantic)
        return LMSPTOutput(fit_length(rebuilt[:, 0], size), fit_length(semantic[:, 0], self.aux_samples(size)), q)

    def latents(self, wav: Tensor, n: Tensor, acoustic: bool) -> tuple[Tensor, tuple[Tensor, Tensor | None]]:
        """Both encoders' output before quantisation.

        Args:
            wav: [B, T] at `sample_rate`; what is past an item's length is not heard.
            n: true samples [B], at least 1.
            acoustic: run the acoustic encoder too.

        Returns:
            Frames [B]; the semantic and the acoustic latent [B, D, T'], the latter None without `acoustic`.

        Raises:
            AudiokdError: `pad_to_frame` is false and an item is shorter than a frame.
        """
        wav = wav.to(self.device, self.dtype)
        if self.config.pad_to_frame:
            valid = -(-n // self.frame_size) * self.frame_size
            wav = F.pad(wav, (0, int(valid.max()) - wav.shape[-1]))
        else:
            valid = n
            if bool((self.semantic_encoder.frames(n) < 1).any()):
                raise AudiokdError(
                    "shorter than one frame", where=f"lengths {n.tolist()}", fix="leave it out, or set pad_to_frame"
                )
            wav = wav[:, : int(n.max())]
        ragged = bool((n != wav.shape[-1]).any())
        if ragged:
            wav = zero_beyond(wav[:, None], n)[:, 0]
        inner = valid if bool((valid != wav.shape[-1]).any()) else None
        z_s, frames = self.semantic_encoder(wav[:, None], inner)
        if frames is None:
            frames = torch.full_like(n, z_s.shape[-1])
        if not acoustic:
            return frames, (z_s, None)
        return frames, (z_s, z_s if self.config.shared_encoder else self.acoustic_encoder(wav[:, None], inner)[0])

    def frames_of(self, n: int) -> int:
        """Frames of `n` samples."""
        return -(-n // self.frame_size) if self.config.pad_to_frame else int(self.semantic_encoder.frames(n))

    def aux_samples(self, n):
        """Samples at `aux_sample_rate` of the sound of `n` samples (int or integer tensor) at `sample_rate`, rounded up."""
        return -(-n * self.config.aux_sample_rate // self.sample_rate)


def _encoder(c: LMSPTConfig) -> Encoder:
    bottleneck = None
    if c.bottleneck_layers:
        shape = (c.bottleneck_dim, c.bottleneck_layers, c.bottleneck_heads)
        bottleneck = Bottleneck(c.latent_dim, *shape, c.attention_window, c.causal)
    shape = (c.residual_kernel_size, c.dilations)
    return Encoder(c.encoder_dim, c.encoder_rates, c.latent_dim, *shape, c.causal, bottleneck)
