"""What every codec gives its users: waveforms to codes and back, in batches or as long as they come.

A codec's encoder and decoder are convolutions (and blocks of windowed attention), so that a long recording runs in pieces that
overlap by the receptive field: the same codes and the same sound as of the whole, in bounded memory.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.nn.code_streams import CodeStreams
from audiokd.nn.codec import long_form
from audiokd.nn.codec.code_ids import check_ids
from audiokd.nn.lengths import fit_length, stack_padded, zero_beyond
from audiokd.nn.waveforms import check_wav
from audiokd.nn.weight_norm import fold_weight_norm
from audiokd.tokens.codes import Codes

#: the frames [B, D, T'] of each encoder; None where one is not wanted
Latents = tuple[Tensor | None, ...]


class CodecTokenizer(CodeStreams, ABC):
    """`encode` and `decode` of a transformers model that has a `quantizer` and a `decoder`; a base beside PreTrainedModel.

    The model gives what is abstract here, and `frame_size`; its config has `sample_rate` and `causal`.
    """

    #: longest stretch, in seconds, that goes through the networks at once; longer audio goes in exact overlapping pieces
    piece_s = 60.0

    config: Any
    quantizer: Any
    decoder: Any
    device: torch.device
    dtype: torch.dtype

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        """Hz of the waveform in and out."""
        return self.config.sample_rate

    @property
    def streams(self) -> list[int]:  # type: ignore[override]
        """Codes of each stream that there is."""
        return self.quantizer.cardinality

    @abstractmethod
    def latents(self, wav: Tensor, n: Tensor, wanted: bool) -> tuple[Tensor, Latents]:
        """Frames [B] of waveforms [B, T] with true samples [B], and the encoders' output; `wanted` is the model's own word for
        which of them."""

    @abstractmethod
    def frames_of(self, n: int) -> int:
        """Frames of `n` samples."""

    @property
    def window_s(self) -> float:
        """Seconds that go through the networks at once, with what a piece hears on either side (see `audiokd.nn.windows`)."""
        before = long_form.margins(self)[0]
        return self.hop_s + 2 * before / self.frame_rate

    @property
    def hop_s(self) -> float:
        """Seconds of a piece."""
        return max(1, int(self.piece_s * self.frame_rate)) / self.frame_rate

    @property
    @abstractmethod
    def encoder_field(self) -> tuple[float, float]:
        """Samples to the left and right that a frame depends on."""

    @property
    def wanted(self) -> bool:
        """What `encode` wants of `latents`."""
        return True

    def decoding(self, semantic_only: bool) -> tuple[Any, Callable[[Tensor], Tensor]]:
        """The decoder and what makes its latent of codes."""
        if semantic_only:
            raise AudiokdError("this codec has no semantic stream")
        return self.decoder, self.quantizer.decode

    def samples_of(self, n: Any, semantic_only: bool) -> Any:
        """Samples out for `n` samples in."""
        return n

    def fold(self):
        """Fold weight normalisation for inference; returns the model."""
        fold_weight_norm(self)  # type: ignore[arg-type]
        return self

    @torch.no_grad()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Codes:
        """Waveforms to codes.

        Args:
            wav: [B, T] float32 at `sample_rate`, in [-1, 1].
            lengths: [B] true samples of each item; all of T by default.

        Returns:
            Codes: codes [B, Q, T'], lengths [B] frames, num_samples [B]. An item's codes are the same alone and in any
            batch. T' = ceil(n / frame_size) (of a model that pads to frames).

        Raises:
            AudiokdError: not [B, T], an empty waveform, a length beyond T, or NaN or Inf (item and sample are named).
        """
        codes, frames, n = self.by_pieces(wav, lengths, self.wanted, self._codes)
        return Codes(codes, frames, n, self.sample_rate)

    @torch.no_grad()
    def decode(self, codes: Codes | Tensor, semantic_only: bool = False) -> tuple[Tensor, Tensor]:
        """Codes to waveforms.

        Args:
            codes: Codes, or a tensor [B, Q, T'].
            semantic_only: use the semantic stream and its own decoder, where the model has them.

        Returns:
            Waveforms [B, T] and their lengths [B]: `num_samples` where the codes know it, else T' * frame_size. No frames
            give no samples.

        Raises:
            AudiokdError: the codes cannot be this model's (too many streams, a code out of range), or are no integers.
        """
        codes = self.as_codes(codes)
        ids = self.check(codes)
        net, embed = self.decoding(semantic_only)
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
    def encode_long(self, source: Tensor | Utterance | str | os.PathLike | Iterable) -> Codes:
        """Codes of one recording that need not be in memory whole: the same as `encode` of all of it, in bounded memory.

        Args:
            source: an audio file or utterance (any sample rate), a waveform [T] or [1, T] at `sample_rate`, or an iterable of such
                blocks.

        Returns:
            Codes of a batch of one.

        Raises:
            AudiokdError: no samples, a block of another shape or of integers, NaN or Inf; AudioError: an unreadable file.
        """
        blocks = long_form.source_blocks(source, self.sample_rate)
        codes, heard = self._of_blocks(blocks, self.wanted, self._codes)
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
        codes = self.as_codes(codes)
        if len(codes) != 1:
            raise AudiokdError(f"decode_long takes one recording, not {len(codes)}", fix="give codes[i]")
        ids, left = self.check(codes)[..., : int(codes.lengths)], int(self._num_samples(codes, semantic_only))
        for wav in long_form.wave_pieces(*self.decoding(semantic_only), ids, self._piece_frames):
            wav = wav[:left]
            left -= len(wav)
            yield wav
        if left:
            yield torch.zeros(left, dtype=self.dtype, device=self.device)  # odd strides end early, as in `decode`

    def as_codes(self, codes: Codes | Tensor) -> Codes:
        """`codes`, a tensor [B, Q, T'] with all its frames."""
        if isinstance(codes, Codes):
            return codes
        size = torch.full((codes.shape[0],), codes.shape[-1], device=codes.device)
        return Codes(codes, size, None, self.sample_rate)

    def check(self, codes: Codes) -> Tensor:
        """The ids [B, Q, T'] on the model's device, or an error where they cannot be its own."""
        return check_ids(codes, self.streams, self.device)

    def by_pieces(
        self, wav: Tensor, lengths: Tensor | None, wanted: bool, of: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`of` the encoders' frames, [B, C, T'], 0 past each item's end; frames [B] and samples [B].

        Audio beyond `piece_s` goes through in pieces, `of` and all, so that memory grows with what is given only.
        """
        n = check_wav(wav, lengths, self.device)
        if wav.shape[-1] <= self.piece_s * self.sample_rate:
            frames, found = self.latents(wav, n, wanted)
            return zero_beyond(of(*found), frames), frames, n
        items = [self._of_blocks([w[: int(k)]], wanted, of)[0][0] for w, k in zip(wav, n)]
        return stack_padded(items), torch.tensor([x.shape[-1] for x in items], device=n.device), n

    def _of_blocks(self, blocks: Iterable[Tensor], wanted: bool, of: Callable[..., Tensor]) -> tuple[Tensor, int]:
        """`of` the encoders' frames, [1, C, T'], of one recording that comes in blocks [n]; and its samples."""
        out, heard = [], 0
        for found, n in long_form.latent_pieces(self, blocks, wanted):
            out.append(of(*found))
            heard = n
        return torch.cat(out, -1), heard

    def _codes(self, *found: Tensor | None) -> Tensor:
        return self.quantizer.encode(*found, self._num_codebooks)

    def _num_samples(self, codes: Codes, semantic_only: bool) -> Tensor:
        """Samples [B] of the sound of `codes`."""
        n = codes.num_samples if codes.num_samples is not None else codes.lengths * self.frame_size
        return self.samples_of(n.to(self.device), semantic_only)

    @property
    def _piece_frames(self) -> int:
        return round(self.hop_s * self.frame_rate)
