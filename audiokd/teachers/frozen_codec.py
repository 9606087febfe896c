"""What codecs that others trained give here: codes and sound as our own tokenizers give them.

A family says how a batch is encoded and decoded so that no clip hears its batch; long recordings, lengths, refusals and hashes
are the same for all, and here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.code_streams import CodeStreams
from audiokd.nn.codec.code_ids import check_ids
from audiokd.nn.codec.long_form import codes_in_pieces
from audiokd.nn.lengths import fit_length, length_mask, stack_padded, zero_beyond
from audiokd.nn.pieces import Piece
from audiokd.nn.waveforms import check_wav
from audiokd.tokens.codes import Codes

#: samples [B, 1, t] and true frames [B] to codes [B, Q, t / frame_size]; or ids [B, Q, t] and frames to samples [B, 1, t']
Run = Callable[[Tensor, Tensor], Tensor]


class FrozenCodec(nn.Module, CodeStreams, ABC):
    """`encode` and `decode` over a frozen codec of one channel. A clip's codes are the same alone and in any batch.

    Each clip is padded with zeros to whole frames first, as transformers' feature extractors for DAC and X-Codec do.

    Args:
        net: the codec, frozen here.
        config: of it, with model_type, to_dict().

    Attributes:
        family: what a person calls it.
        piece_s: longest stretch, in seconds, that goes through the networks at once.
        window_s: of a codec that hears a whole clip at once: seconds of the windows that longer recordings are cut into, which do
            not hear each other; that is then what their codes are. None where long recordings have the codes of the whole.
    """

    family: ClassVar[str]
    piece_s: float = 60.0
    window_s: float | None = None

    #: frames to each side of a piece that go through with it
    encoder_margin = decoder_margin = 0

    def __init__(self, net: nn.Module, config: Any):
        super().__init__()
        self.__dict__["net"] = net.eval().requires_grad_(False)  # past nn.Module's registry: it is frozen
        self.config: Any = config
        self._num_codebooks = len(self.streams)

    @abstractmethod
    def encoder(self) -> Run:
        """What makes codes of one batch, or of one recording that is handed over piece after piece, in order."""

    @abstractmethod
    def decoder(self) -> Run:
        """The way back, in the same manner. A piece at the end may give less than its frames have."""

    def _apply(self, fn: Any, recurse: bool = True) -> FrozenCodec:
        self.net._apply(fn)
        return super()._apply(fn, recurse)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The network's weights, by which a store tells what it was made by."""
        return self.net.state_dict(*args, **kwargs)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.net.parameters()).device

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        """Hz of the waveform in and out."""
        return self.config.sampling_rate

    @torch.no_grad()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Codes:
        """Waveforms [B, T] float32 at `sample_rate` with true `lengths` [B] to codes of ceil(n / frame_size) frames.

        Raises:
            AudiokdError: not [B, T], an empty waveform, or NaN or Inf.
        """
        n = check_wav(wav, lengths, self.device)
        frames = -(-n // self.frame_size)
        x = zero_beyond(wav.to(self.device)[:, None], n)[..., : int(n.max())].float()
        x = F.pad(x, (0, int(frames.max()) * self.frame_size - x.shape[-1]))
        with torch.autocast(x.device.type, enabled=False):
            found = self._in_pieces(self.encoder, x, frames, self.frame_size, 1, self.encoder_margin)
        return Codes(found * length_mask(frames, found.shape[-1])[:, None], frames, n, self.sample_rate)

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
        run, size = self.encoder(), self.frame_size

        def of(p: Piece) -> Tensor:
            frames = -(-len(p.wav) // size)
            x = F.pad(p.wav.to(self.device)[None, None].float(), (0, frames * size - len(p.wav)))
            with torch.autocast(x.device.type, enabled=False):
                codes = run(x, torch.tensor([frames], device=self.device))
            return codes[..., p.skip : None if p.frames is None else p.skip + p.frames]

        return codes_in_pieces(source, self.sample_rate, size, self._piece_frames, self.encoder_margin, of)

    @torch.no_grad()
    def decode(self, codes: Codes | Tensor, semantic_only: bool = False) -> tuple[Tensor, Tensor]:
        """Codes, or a tensor [B, Q, T'], to waveforms [B, T] and their lengths [B]: `num_samples` where the codes know it.

        Raises:
            AudiokdError: `semantic_only`, which these have not, or codes that cannot be the model's.
        """
        if semantic_only:
            raise AudiokdError(f"{self.family} has no semantic stream with a decoder of its own")
        if isinstance(codes, Tensor):
            codes = Codes(codes, torch.full((len(codes),), codes.shape[-1]), None, self.sample_rate)
        if codes.sample_rate not in (None, self.sample_rate):
            fix = "give the model that made them"
            raise AudiokdError(f"codes of sound at {codes.sample_rate} Hz, the model has {self.sample_rate}", fix=fix)
        ids, frames = check_ids(codes, self.streams, self.device), codes.lengths.to(self.device)
        n = frames * self.frame_size if codes.num_samples is None else codes.num_samples.to(self.device)
        size = int(n.max())
        if ids.shape[-1] == 0:
            return torch.zeros(len(ids), size, device=self.device), n
        with torch.autocast(ids.device.type, enabled=False):
            wav = self._in_pieces(self.decoder, ids, frames, 1, self.frame_size, self.decoder_margin)
        return zero_beyond(fit_length(wav, size), n)[:, 0], n

    @property
    def _piece_frames(self) -> int:
        return max(1, int(self.piece_s * self.frame_rate))

    def _in_pieces(
        self, made: Callable[[], Run], x: Tensor, frames: Tensor, in_size: int, out_size: int, margin: int
    ) -> Tensor:
        """What a run gives of `x` [B, C, T]; where it is longer than a piece, item by item and piece by piece, with margins."""
        piece = self._piece_frames
        if x.shape[-1] <= piece * in_size:
            return made()(x, frames)
        items = []
        for item, whole in zip(x, frames.tolist()):
            run, parts = made(), []
            for start in range(0, whole, piece):
                stop = min(start + piece, whole)
                a, b = max(0, start - margin), min(stop + margin, whole)
                y = run(item[None, :, a * in_size : b * in_size], frames.new_tensor([b - a]))
                parts.append(y[0, :, (start - a) * out_size : (stop - a) * out_size])
            items.append(torch.cat(parts, -1) if parts else torch.zeros(1, 0, device=x.device))
        return stack_padded(items)


def residual_codes(layers: Sequence[Any], residual: Tensor) -> Tensor:
    """Codes [B, Q, T'] of frames [B, D, T'], each layer of what those before it left over (`encode`, `decode` of each)."""
    codes = []
    for layer in layers:
        codes.append(layer.encode(residual))
        residual = residual - layer.decode(codes[-1])
    return torch.stack(codes, 1)


def residual_sum(layers: Sequence[Any], ids: Tensor) -> Tensor:
    """Frames [B, D, T'] of ids [B, Q, T'], the sum of what each layer has for them."""
    found = layers[0].decode(ids[:, 0])
    for q, layer in enumerate(layers[1 : ids.shape[1]], 1):
        found = found + layer.decode(ids[:, q])
    return found
