"""LM-SPT: a speech tokenizer whose first stream is semantic (arXiv 2506.16738), as a transformers model.

Two encoders, a split quantiser, a decoder, and a small auxiliary decoder that turns the semantic stream alone into 16 kHz
sound for the frozen ASR encoder. The parts are the config's: by default the released architecture (DAC encoders and
decoders), else the paper's first version (a transformer after each encoder, Vocos decoders). README.md has the constants.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt import inputs, long_form, streaming
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.nn.codec.bottleneck import Bottleneck
from audiokd.nn.codec.dac import Decoder, Encoder
from audiokd.nn.codec.vocos import VocosDecoder
from audiokd.nn.lengths import zero_beyond
from audiokd.nn.quantizers.rvq import ResidualVQ
from audiokd.nn.quantizers.split import SplitQuantized, SplitQuantizer
from audiokd.nn.weight_norm import fold_weight_norm
from audiokd.tokens.codes import Codes


@dataclass
class LMSPTOutput:
    """A training forward: rebuilt `wav` [B, T], `semantic_wav` [B, T_aux] from the semantic stream alone, and the quantiser's."""

    wav: Tensor
    semantic_wav: Tensor
    quantized: SplitQuantized


class LMSPTModel(PreTrainedModel):
    """Encoders, quantiser, decoders. `encode` and `decode` are the tokenizer; `forward` is for training."""

    config_class = LMSPTConfig
    base_model_prefix = "lm_spt"
    main_input_name = "wav"
    #: longest stretch, in seconds, that goes through the networks at once; longer audio goes in exact overlapping pieces
    piece_s = 60.0
    #: what `extract` can give
    feature_layers = ("quantized", "semantic", "semantic_latent", "acoustic_latent")

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
        self._num_codebooks = c.n_codebooks
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: every part starts as torch starts it, as the official code does."""

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in and out."""
        return self.config.sample_rate

    @property
    def frame_size(self) -> int:
        """Samples a frame."""
        return math.prod(self.config.encoder_rates)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.frame_size

    @property
    def num_codebooks(self) -> int:
        """Streams that `encode` gives."""
        return self._num_codebooks

    @property
    def cardinality(self) -> list[int]:
        """Codes of each stream."""
        return self.quantizer.cardinality[: self._num_codebooks]

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

    def forward(self, wav: Tensor, cut_aux: bool = False) -> LMSPTOutput:
        """Rebuild `wav` [B, T] at the sample rate; both outputs have the length of the input.

        `cut_aux`: no gradient from the auxiliary decoder to the semantic stream.
        """
        size = wav.shape[-1]
        x = F.pad(wav, (0, -size % self.frame_size))[:, None]
        z_semantic, _ = self.semantic_encoder(x)
        z_acoustic = z_semantic if self.config.shared_encoder else self.acoustic_encoder(x)[0]
        q = self.quantizer(z_semantic, z_acoustic)
        rebuilt, _ = self.decoder(q.z)
        semantic, _ = self.aux_decoder(q.z_semantic.detach() if cut_aux else q.z_semantic)
        return LMSPTOutput(_to_size(rebuilt[:, 0], size), _to_size(semantic[:, 0], self._aux_samples(size)), q)

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
        between two machines are near ties."""
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
        """
        codes = self._as_codes(codes)
        ids = inputs.check_codes(self, codes)
        net, embed = self._decoding(semantic_only)
        frames, n = codes.lengths.to(self.device), self._num_samples(codes, semantic_only)
        piece = self._piece_frames
        if ids.shape[-1] == 0 or ids.shape[-1] > piece:
            none = torch.zeros(0, dtype=self.dtype, device=self.device)  # of an item that has no frames
            pieces = (long_form.wave_pieces(net, embed, i[None, :, : int(k)], piece) for i, k in zip(ids, frames))
            wav = _stack([torch.cat([none, *p]) for p in pieces])
        else:
            wav = net(embed(ids), None if bool((frames == ids.shape[-1]).all()) else frames)[0][:, 0]
        size = int(max(n.max(), (frames * net.frame_size).max() if codes.num_samples is None else 0))
        return zero_beyond(_to_size(wav, size)[:, None], n)[:, 0], n

    @torch.no_grad()
    def encode_long(self, source: Tensor | str | os.PathLike | Iterable) -> Codes:
        """Codes of one recording that need not be in memory whole: the same as `encode` of all of it, in bounded memory.

        Args:
            source: an audio file (any sample rate), a waveform [T] or [1, T] at `sample_rate`, or an iterable of such blocks.

        Returns:
            Codes of a batch of one.
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
            yield wav.new_zeros(left)  # odd strides end early, as in `decode`

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
        return self._aux_samples(n.to(self.device)) if semantic_only else n.to(self.device)

    @property
    def _piece_frames(self) -> int:
        return int(self.piece_s * self.frame_rate)

    def _aux_samples(self, n):
        return -(-n * self.config.aux_sample_rate // self.sample_rate)

    @property
    def needs_acoustic(self) -> bool:
        """Whether `encode` gives acoustic streams."""
        return self._num_codebooks > self.config.n_semantic_codebooks

    def latents(self, wav: Tensor, n: Tensor, acoustic: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Frames [B] and both encoders' output [B, D, T'] for `wav` [B, T] with true lengths `n` [B]."""
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
            return frames, z_s, None
        return frames, z_s, z_s if self.config.shared_encoder else self.acoustic_encoder(wav[:, None], inner)[0]

    def _codes(self, z_s: Tensor, z_a: Tensor | None) -> Tensor:
        return self.quantizer.encode(z_s, z_a, self._num_codebooks)

    def _by_pieces(
        self, wav: Tensor, lengths: Tensor | None, acoustic: bool, of: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`of` both encoders' frames, [B, C, T'], 0 past each item's end; frames [B] and samples [B].

        Audio beyond `piece_s` goes through in pieces, `of` and all, so that memory grows with what is given only.
        """
        n = inputs.check_wav(self, wav, lengths)
        if wav.shape[-1] <= self.piece_s * self.sample_rate:
            frames, z_s, z_a = self.latents(wav, n, acoustic)
            return zero_beyond(of(z_s, z_a), frames), frames, n
        items = [self._of_blocks([w[: int(k)]], acoustic, of)[0][0] for w, k in zip(wav, n)]
        return _stack(items), torch.tensor([x.shape[-1] for x in items], device=n.device), n

    def _of_blocks(self, blocks: Iterable[Tensor], acoustic: bool, of: Callable[..., Tensor]) -> tuple[Tensor, int]:
        """`of` both encoders' frames, [1, C, T'], of one recording that comes in blocks [n]; and its samples."""
        out, heard = [], 0
        for z_s, z_a, n in long_form.latent_pieces(self, blocks, acoustic):
            out.append(of(z_s, z_a))
            heard = n
        return torch.cat(out, -1), heard


def _encoder(c: LMSPTConfig) -> Encoder:
    bottleneck = None
    if c.bottleneck_layers:
        shape = (c.bottleneck_dim, c.bottleneck_layers, c.bottleneck_heads)
        bottleneck = Bottleneck(c.latent_dim, *shape, c.attention_window, c.causal)
    shape = (c.residual_kernel_size, c.dilations)
    return Encoder(c.encoder_dim, c.encoder_rates, c.latent_dim, *shape, c.causal, bottleneck)


def _to_size(x: Tensor, size: int) -> Tensor:
    """`x` [B, T] cut or zero-padded on the right to `size`."""
    return F.pad(x, (0, size - x.shape[-1]))


def _stack(items: list[Tensor]) -> Tensor:
    """Items [..., T] of unequal T, padded with zeros to the longest: [B, ..., T]."""
    size = max(x.shape[-1] for x in items)
    return torch.stack([_to_size(x, size) for x in items])
