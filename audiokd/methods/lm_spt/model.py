"""LM-SPT: a speech tokenizer whose first stream is semantic (arXiv 2506.16738), as a transformers model.

Two encoders, a split quantiser, a decoder, and a small auxiliary decoder that turns the semantic stream alone into 16 kHz
sound for the frozen ASR encoder (networks.py). Here is what is done with them: waveforms to codes and features, and back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt import streaming
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.networks import LMSPTNetworks
from audiokd.tokens.codes import Codes


class LMSPTModel(LMSPTNetworks):
    """`encode` and `decode` are the tokenizer; `forward` is for training."""

    #: what `extract` can give
    feature_layers = ("quantized", "semantic", "semantic_latent", "acoustic_latent")

    def __init__(self, config: LMSPTConfig):
        super().__init__(config)
        self._num_codebooks = config.n_codebooks

    @property
    def needs_acoustic(self) -> bool:
        """Whether `encode` gives acoustic streams."""
        return self._num_codebooks > self.config.n_semantic_codebooks

    @torch.no_grad()
    def extract(self, wav: Tensor, lengths: Tensor | None = None, layer: str = "quantized") -> tuple[Tensor, Tensor]:
        """Continuous features of waveforms [B, T]: [B, T', D] and lengths [B] in frames.

        Args:
            wav: [B, T] float32 at `sample_rate`.
            lengths: [B] true samples.
            layer: "quantized" (all streams summed, what the decoder sees), "semantic" (the quantised semantic stream),
                "semantic_latent" or "acoustic_latent" (the encoders' outputs before quantisation).

        Raises:
            AudiokdError: no such layer, or a waveform as `encode` refuses it.
        """
        if layer not in self.feature_layers:
            raise AudiokdError(f"no features {layer!r}", fix=f"layers: {', '.join(self.feature_layers)}")
        quantizer, c = self.quantizer, self.config
        of = {
            "quantized": lambda z_s, z_a: quantizer.decode(quantizer.encode(z_s, z_a, c.n_codebooks)),
            "semantic": lambda z_s, z_a: quantizer.decode(quantizer.encode(z_s, None, c.n_semantic_codebooks)),
            "semantic_latent": lambda z_s, z_a: z_s,
            "acoustic_latent": lambda z_s, z_a: z_a,
        }[layer]
        z, frames, _ = self.by_pieces(wav, lengths, layer in ("quantized", "acoustic_latent"), of)
        return z.transpose(1, 2), frames

    @torch.no_grad()
    def code_margins(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Margin [B, Q, T'] of each code that `encode` gives over the runner-up (cosine; fsq: of half a level): codes that differ
        between two machines are near ties. Arguments and errors as `encode`'s."""
        n = self._num_codebooks
        return self.by_pieces(wav, lengths, self.needs_acoustic, lambda s, a: self.quantizer.margin(s, a, n))[0]

    @torch.no_grad()
    def encode_step(
        self, wav: Tensor, state: streaming.EncoderState | None = None, last: bool = False
    ) -> tuple[Tensor, streaming.EncoderState | None]:
        """Codes of the frames that a chunk of a stream completes (causal models).

        Args:
            wav: [B, n] float32 at `sample_rate`, of any length, also 0; what does not fill a frame waits in the state.
            state: what the step before gave; None starts a stream. It is not changed and can be gone back to.
            last: end the stream: the samples that wait are padded as `encode` pads them.

        Returns:
            Codes int64 [B, Q, t], t 0 or more, and the state for the next chunk, None after the last.

        Raises:
            AudiokdError: the model is not causal, not [B, n], NaN or Inf, or the state is of another batch size or number of
                codebooks.
        """
        return streaming.encode_step(self, wav, state, last)

    @torch.no_grad()
    def decode_step(
        self, codes: Codes | Tensor, state: streaming.DecoderState | None = None, semantic_only: bool = False
    ) -> tuple[Tensor, streaming.DecoderState]:
        """Sound of the next codes of a stream (causal models): t frames give exactly t * frame_size samples.

        Args:
            codes: [B, Q, t], t at least 1.
            state: what the step before gave; None starts a stream. It is not changed and can be gone back to.
            semantic_only: as for `decode`; a stream keeps to one of the two.

        Returns:
            Waveform [B, n] and the state for the next codes.

        Raises:
            AudiokdError: the model is not causal, no frames, codes that `decode` refuses, or the state is of another batch size
                or decoder.
        """
        return streaming.decode_step(self, self.check(self.as_codes(codes)), state, semantic_only)

    wanted = needs_acoustic

    @property
    def encoder_field(self) -> tuple[float, float]:
        """Samples to the left and right that a frame depends on."""
        return self.semantic_encoder.receptive_field

    def decoding(self, semantic_only: bool):
        """The decoder and what makes its latent of codes."""
        if semantic_only:
            return self.aux_decoder, self.quantizer.decode_semantic
        return super().decoding(semantic_only)

    def samples_of(self, n, semantic_only: bool):
        """Samples out for `n` samples in: at the auxiliary decoder's rate of the semantic stream alone."""
        return self.aux_samples(n) if semantic_only else n
