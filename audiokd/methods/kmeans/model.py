"""Frames of music by the nearest of some hundred typical ones: the teacher of MERT's first version, without a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.frontends.mel_chroma import N_FFT, MelChroma
from audiokd.methods.kmeans.config import FEATURES, KMeansConfig
from audiokd.nn.code_streams import CodeStreams
from audiokd.nn.codec.long_form import codes_in_pieces
from audiokd.nn.lengths import length_mask, zero_beyond
from audiokd.nn.waveforms import check_wav
from audiokd.tokens.codes import Codes

#: frames at a time, so that memory stays bounded
PIECE = 4500


class KMeansModel(PreTrainedModel, CodeStreams):
    """A tokenizer that cannot decode: a codebook of log-mel frames, one of chroma."""

    config_class = KMeansConfig
    base_model_prefix = "kmeans"
    main_input_name = "wav"

    def __init__(self, config: KMeansConfig):
        super().__init__(config)
        self.frontend = MelChroma(config.sample_rate, config.frame_size, config.n_mels)
        sizes = dict(zip(FEATURES, (config.n_mels, 12)))
        self.used = [name for name, k in zip(FEATURES, config.clusters) if k]
        for name, k in zip(FEATURES, config.clusters):
            if k:
                self.register_parameter(name, torch.nn.Parameter(torch.zeros(k, sizes[name]), requires_grad=False))
        self._num_codebooks = len(self.used)
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: centres are found, not drawn."""

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in."""
        return self.config.sample_rate

    @property
    def frame_size(self) -> int:
        """Samples a frame."""
        return self.config.frame_size

    @property
    def piece_s(self) -> float:
        """Longest recording, in seconds, that goes through at once."""
        return PIECE / self.frame_rate

    @property
    def streams(self) -> list[int]:
        """Codes of each stream that there is."""
        return [k for k in self.config.clusters if k]

    def features(self, wav: Tensor, first: int = 0, frames: int | None = None) -> dict[str, Tensor]:
        """What each codebook is of, [B, T', D], by name; as `MelChroma` takes it."""
        found = dict(zip(FEATURES, self.frontend(wav, first, frames)))
        return {name: found[name] for name in self.used}

    @torch.no_grad()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Codes:
        """Waveforms [B, T] float32 at `sample_rate` with true `lengths` [B] to codes of ceil(n / frame_size) frames.

        Raises:
            AudiokdError: not [B, T], an empty waveform, or NaN or Inf.
        """
        n = check_wav(wav, lengths, self.device)
        x = zero_beyond(wav.to(self.device)[:, None], n)[:, 0, : int(n.max())]
        frames = -(-n // self.frame_size)
        codes = torch.cat([self._codes(x, first, PIECE) for first in range(0, int(frames.max()), PIECE)], -1)
        return Codes(codes * length_mask(frames, codes.shape[-1])[:, None], frames, n, self.sample_rate)

    @torch.no_grad()
    def encode_long(self, source: Any) -> Codes:
        """Codes of one recording that need not be in memory whole: the same as `encode` of all of it, in bounded memory.

        Args:
            source: an audio file or utterance (any sample rate), a waveform [T] or [1, T] at `sample_rate`, or an iterable of such
                blocks.

        Returns:
            Codes of a batch of one.

        Raises:
            AudiokdError: no samples, a block of another shape or of integers, NaN or Inf; AudioError: an unreadable file.
        """
        margin = -(-N_FFT // (2 * self.frame_size))
        return codes_in_pieces(
            source,
            self.sample_rate,
            self.frame_size,
            PIECE,
            margin,
            lambda p: self._codes(p.wav.to(self.device)[None], p.skip, p.frames),
        )

    def _codes(self, wav: Tensor, first: int, frames: int | None) -> Tensor:
        """Codes [B, Q, frames] of the frames from `first` on."""
        found = self.features(wav, first, frames)
        books = [self.get_parameter(name) for name in self.used[: self._num_codebooks]]
        return torch.stack([_nearest(found[k], b) for k, b in zip(self.used, books)], 1)

    def decode(self, codes: Codes, semantic_only: bool = False) -> tuple[Tensor, Tensor]:
        """There is no way back.

        Raises:
            AudiokdError: always.
        """
        raise AudiokdError("k-means codes cannot be turned into sound", fix="use an EnCodec or 'audiokd fit rvq_vae'")


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre [B, T'] of frames [B, T', D]; |x|^2 is the same for all of them."""
    return (centres.square().sum(-1) - 2 * (x @ centres.t())).argmin(-1)
