"""An RVQ-VAE: convolutions, a residual quantiser, convolutions back (SoundStream 2107.03312, EnCodec 2210.13438, DAC 2306.06546).

MERT's acoustic teacher where no EnCodec can be had, or where its own music is to decide what a code is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.rvq_vae.config import RVQVAEConfig
from audiokd.nn.codec.dac import Decoder, Encoder
from audiokd.nn.codec.tokenizer import CodecTokenizer, Latents
from audiokd.nn.lengths import fit_length, zero_beyond
from audiokd.nn.quantizers.rvq import ResidualVQ


@dataclass
class RVQVAEOutput:
    """A training forward: rebuilt `wav` [B, T], `codes` [B, Q, T'], scalar losses, `latents` [B, d, T'] a level."""

    wav: Tensor
    codes: Tensor
    commit: Tensor
    codebook: Tensor
    latents: list[Tensor]


class RVQVAEModel(PreTrainedModel, CodecTokenizer):
    """`encode` and `decode` are the tokenizer; `forward` is for training."""

    config_class = RVQVAEConfig
    base_model_prefix = "rvq_vae"
    main_input_name = "wav"
    #: what `extract` can give
    feature_layers = ("quantized", "latent")

    def __init__(self, config: RVQVAEConfig):
        super().__init__(config)
        c = config
        shape = (c.residual_kernel_size, c.dilations, c.causal)
        self.encoder = Encoder(c.encoder_dim, c.rates, c.latent_dim, *shape)
        self.quantizer = ResidualVQ(c.latent_dim, c.n_codebooks, c.codebook_size, c.codebook_dim, c.quantizer_dropout)
        self.decoder = Decoder(c.latent_dim, c.decoder_dim, c.rates[::-1], *shape)
        self._num_codebooks = c.n_codebooks
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: every part starts as torch starts it."""

    @property
    def frame_size(self) -> int:
        """Samples a frame."""
        return math.prod(self.config.rates)

    @property
    def encoder_field(self) -> tuple[float, float]:
        """Samples to the left and right that a frame depends on."""
        return self.encoder.receptive_field

    def frames_of(self, n: int) -> int:
        """Frames of `n` samples: as many as begin in them."""
        return -(-n // self.frame_size)

    def forward(self, wav: Tensor) -> RVQVAEOutput:
        """Rebuild waveforms [B, T] float32 at `sample_rate`, in [-1, 1]; the output lasts as long."""
        size = wav.shape[-1]
        z, _ = self.encoder(F.pad(wav, (0, -size % self.frame_size))[:, None])
        z_q, codes, commit, codebook, latents = self.quantizer(z)
        rebuilt, _ = self.decoder(z_q)
        return RVQVAEOutput(fit_length(rebuilt[:, 0], size), codes, commit, codebook, latents)

    def latents(self, wav: Tensor, n: Tensor, wanted: bool = True) -> tuple[Tensor, Latents]:
        """Frames [B] and the encoder's output [B, D, T'] of waveforms [B, T] with true samples `n` [B]."""
        wav = wav.to(self.device, self.dtype)
        valid = -(-n // self.frame_size) * self.frame_size
        wav = zero_beyond(F.pad(wav, (0, int(valid.max()) - wav.shape[-1]))[:, None], n)
        z, frames = self.encoder(wav, valid if bool((valid != wav.shape[-1]).any()) else None)
        return torch.full_like(n, z.shape[-1]) if frames is None else frames, (z,)

    @torch.no_grad()
    def extract(self, wav: Tensor, lengths: Tensor | None = None, layer: str = "quantized") -> tuple[Tensor, Tensor]:
        """Continuous features of waveforms [B, T]: [B, T', D] and lengths [B] in frames.

        Args:
            wav: [B, T] float32 at `sample_rate`.
            lengths: [B] true samples.
            layer: "quantized" (all levels summed, what the decoder sees) or "latent" (before quantisation).

        Raises:
            AudiokdError: no such layer, or a waveform as `encode` refuses it.
        """
        if layer not in self.feature_layers:
            raise AudiokdError(f"no features {layer!r}", fix=f"layers: {', '.join(self.feature_layers)}")
        q = self.quantizer
        of = {"quantized": lambda z: q.decode(q.encode(z)), "latent": lambda z: z}[layer]
        z, frames, _ = self.by_pieces(wav, lengths, True, of)
        return z.transpose(1, 2), frames
