"""LM-SPT: a speech tokenizer whose first stream is semantic (arXiv 2506.16738), as a transformers model.

Two encoders, a split quantiser, a decoder, and a small auxiliary decoder that turns the semantic stream alone into 16 kHz
sound for the frozen ASR encoder (networks.py). Here is what is done with them: waveforms to codes and features, and back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt import inputs, long_form, streaming
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.networks import LMSPTNetworks
from audiokd.nn.lengths import fit_length, stack_padded, zero_beyond
from audiokd.nn.waveforms import check_wav
from audiokd.nn.weight_norm import fold_weight_norm
from audiokd.tokens.codes import Codes


class LMSPTModel(LMSPTNetworks):
    """`encode` and `decode` are the tokenizer; `forward` is for training."""

    #: longest stretch, in seconds, that goes through the networks at once; longer audio goes in exact overlapping pieces
    piece_s = 60.0
    #: what `extract` can give
    feature_layers = ("quantized", "semantic", "semantic_latent", "acoustic_latent")

    def __init__(self, config: LMSPTConfig):
        super().__init__(config)
        self._num_codebooks = config.n_codebooks

    @property
    def num_codebooks(self) -> int:
        """Streams that `encode` gives."""
        return self._num_codebooks

    @property
    def cardinality(self) -> list[int]:
        """Codes of each stream."""
        return self.quantizer.cardinality[: self._num_codebooks]

    @property
    def needs_acoustic(self) -> bool:
        """Whether `encode` gives acoustic streams."""
        return self._num_codebooks > self.config.n_semantic_codebooks

    def set_num_codebooks(self, n: int) -> None:
        """Encode the first `n` streams only (1 is the semantic one), whichever way: whole, long, in steps.

        They are the same codes as of all streams. It changes no features, no decoding (which takes the streams it is given),
        and is of this object: a saved model has all its streams when it is loaded.
        """
        if n != int(n) or not 1 <= n <= self.config.n_codebooks:
            raise AudiokdError(f"{n} codebooks asked of a model that has {self.config.n_codebooks}")
        self._num_codebooks = int(n)

    def fold(self) -> LMSPTModel:
        """Fold weight normalisation for inference; returns the model."""
        fold_weight_norm(self)
        return self

    @torch.no_grad()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Codes:
        """Waveforms to codes.

        Args:
            wav: [B, T] float32 at `sample_rate`, in [-1, 1].
            lengths: [B] true samples of each item; all of T by default.

        Returns:
            Codes: codes [B, Q, T'], lengths [B] frames, num_samples [B]. An item's codes are the same alone and in any
            batch. T' = ceil(n / frame_size) (`pad_to_frame: false`: the official floor).

        Raises:
            AudiokdError: not [B, T], an empty waveform, a length beyond T, or NaN or Inf (item and sample are named).
        """
        codes, frames, n = self._by_pieces(wav, lengths, self.needs_acoustic, self._codes)
        return Codes(codes, frames, n, self.sample_rate)

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
        z, frames, _ = self._by_pieces(wav, lengths, layer in ("quantized", "acoustic_latent"), of)
        return z.transpose(1, 2), frames

    @torch.no_grad()
    def code_margins(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Margin [B, Q, T'] of each code that `encode` gives over the runner-up (cosine; fsq: of half a level): codes that differ
        between two machines are near ties. Arguments and errors as `encode`'s."""
        n = self._num_codebooks
        return self._by_pieces(wav, lengths, self.needs_acoustic, lambda s, a: self.quantizer.margin(s, a, n))[0]

    @torch.no_grad()
    def decode(self, codes: Codes | Tensor, semantic_only: bool = False) -> tuple[Tensor, Tensor]:
        """Codes to waveforms.

        Args:
            codes: Codes, or a tensor [B, Q, T'].
            semantic_only: use the semantic stream and the auxiliary decoder; the result is at `config.aux_sample_rate`.

        Returns:
            Waveforms [B, T] and their lengths [B]: `num_samples` where the codes know it, else T' * frame_size. No frames
            give no samples.

        Raises:
            AudiokdError: the codes cannot be this model's (too many streams, a code out of range), or are no integers.
        """
        codes = self._as_codes(codes)
        ids = inputs.check_codes(self, codes)
        net, embed = self._decoding(semantic_only)
        frames, n = codes.lengths.to(self.device), self._num_samples(codes, semantic_only)
        piece = self._piece_frames
        if ids.shape[-1] == 0 or ids.shape[-1] > piece:
            none = torch.zeros(0, dtype=self.dtype, device=self.device)  # of an item that has no frames
            pieces = (long_form.wave_pieces(net, embed, i[None, :, : int(k)], piece) for i, k in zip(ids, frames))
            wav = stack_padded([torch.cat([none, *p]) for p in pieces])
        else:
            wav = net(embed(ids), None if bool((frames == ids.shape[-1]).all()) else frames)[0][:, 0]
        size = int(max(n.max(), (frames * net.frame_size).max() if codes.num_samples is None else 0))
        return zero_beyond(fit_length(wav, size)[:, None], n)[:, 0], n

    @torch.no_grad()
    def encode_long(self, source: Tensor | str | os.PathLike | Iterable) -> Codes:
        """Codes of one recording that need not be in memory whole: the same as `encode` of all of it, in bounded memory.

        Args:
            source: an audio file (any sample rate), a waveform [T] or [1, T] at `sample_rate`, or an iterable of such blocks.

        Returns:
            Codes of a batch of one.

        Raises:
            AudiokdError: no samples, a block of another shape or of integers, NaN or Inf; AudioError: an unreadable file.
        """
        blocks = long_form.source_blocks(source, self.sample_rate)
        codes, heard = self._of_blocks(blocks, self.needs_acoustic, self._codes)
        lengths, samples = torch.tensor([[codes.shape[-1]], [heard]], device=codes.device)
        return Codes(codes, lengths, samples, self.sample_rate)

    @torch.no_grad()
    def decode_long(self, codes: Codes | Tensor, semantic_only: bool = False) -> Iterator[Tensor]:
        """The waveform of one recording as blocks [n] of `piece_s`, which together are what `decode` gives, in bounded memory.

        Args:
            codes: Codes of a batch of one, or a tensor [1, Q, T'].
            semantic_only: as for `decode`.

        Raises:
            AudiokdError: not one recording, or codes that `decode` refuses.
        """
        codes = self._as_codes(codes)
        if len(codes) != 1:
            raise AudiokdError(f"decode_long takes one recording, not {len(codes)}", fix="give codes[i]")
        ids, left = (
            inputs.check_codes(self, codes)[..., : int(codes.lengths)],
            int(self._num_samples(codes, semantic_only)),
        )
        for wav in long_form.wave_pieces(*self._decoding(semantic_only), ids, self._piece_frames):
            wav = wav[:left]
            left -= len(wav)
            yield wav
        if left:
            yield torch.zeros(left, dtype=self.dtype, device=self.device)  # odd strides end early, as in `decode`

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
        return streaming.decode_step(self, inputs.check_codes(self, self._as_codes(codes)), state, semantic_only)

    def _as_codes(self, codes: Codes | Tensor) -> Codes:
        if isinstance(codes, Codes):
            return codes
        size = torch.full((codes.shape[0],), codes.shape[-1], device=codes.device)
        return Codes(codes, size, None, self.sample_rate)

    def _decoding(self, semantic_only: bool):
        """The decoder and what makes its latent of codes."""
        if semantic_only:
            return self.aux_decoder, self.quantizer.decode_semantic
        return self.decoder, self.quantizer.decode

    def _num_samples(self, codes: Codes, semantic_only: bool) -> Tensor:
        """Samples [B] of the sound of `codes`."""
        n = codes.num_samples if codes.num_samples is not None else codes.lengths * self.frame_size
        return self.aux_samples(n.to(self.device)) if semantic_only else n.to(self.device)

    @property
    def _piece_frames(self) -> int:
        return max(1, int(self.piece_s * self.frame_rate))

    def _codes(self, z_s: Tensor, z_a: Tensor | None) -> Tensor:
        return self.quantizer.encode(z_s, z_a, self._num_codebooks)

    def _by_pieces(
        self, wav: Tensor, lengths: Tensor | None, acoustic: bool, of: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`of` both encoders' frames, [B, C, T'], 0 past each item's end; frames [B] and samples [B].

        Audio beyond `piece_s` goes through in pieces, `of` and all, so that memory grows with what is given only.
        """
        n = check_wav(wav, lengths, self.device)
        if wav.shape[-1] <= self.piece_s * self.sample_rate:
            frames, z_s, z_a = self.latents(wav, n, acoustic)
            return zero_beyond(of(z_s, z_a), frames), frames, n
        items = [self._of_blocks([w[: int(k)]], acoustic, of)[0][0] for w, k in zip(wav, n)]
        return stack_padded(items), torch.tensor([x.shape[-1] for x in items], device=n.device), n

    def _of_blocks(self, blocks: Iterable[Tensor], acoustic: bool, of: Callable[..., Tensor]) -> tuple[Tensor, int]:
        """`of` both encoders' frames, [1, C, T'], of one recording that comes in blocks [n]; and its samples."""
        out, heard = [], 0
        for z_s, z_a, n in long_form.latent_pieces(self, blocks, acoustic):
            out.append(of(z_s, z_a))
            heard = n
        return torch.cat(out, -1), heard
