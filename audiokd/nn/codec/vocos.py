"""The Vocos decoder (https://arxiv.org/abs/2306.00814): ConvNeXt blocks at the frame rate, an inverse STFT as the last layer.

Tokens of 6 to 25 Hz are too far apart for an inverse STFT, and the source of LM-SPT's first version does not say how it bridges
that. Here, our choice: after the first convolution each token becomes s frames by a learned transposed convolution of kernel s and
stride s, for each s of `rates`; hop = frame_size / prod(rates) samples, window 4 hop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.nn.codec.causal import Cache, pad_left
from audiokd.nn.lengths import length_mask, zero_beyond

KERNEL = 7
MAX_MAGNITUDE = 100.0  # exp of a wild prediction, as in Vocos
OVERLAP = 4  # window over hop


class VocosDecoder(nn.Module):
    """Latent frames to waveform, with the interface of nn/codec/dac.py's Decoder. Its output is not bounded to [-1, 1].

    Args:
        latent_dim: channels of the input.
        dim: width of the blocks; their inner width is 3 dim, as in Vocos.
        layers: ConvNeXt blocks.
        rates: frames of the inverse STFT that a token becomes, as a product.
        frame_size: samples a token.
        causal: a sample sees its own and earlier tokens only.

    Shape: [B, latent_dim, T'] -> [B, 1, T' frame_size], lengths [B] tokens -> [B] samples.
    """

    def __init__(
        self, latent_dim: int, dim: int, layers: int, rates: Sequence[int], frame_size: int, causal: bool = False
    ):
        super().__init__()
        self.rates, self.frame_size, self.causal = tuple(rates), frame_size, causal
        self.embed = _Conv(latent_dim, dim, causal)
        self.upsample = nn.ModuleList(nn.ConvTranspose1d(dim, dim, s, s) for s in rates)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.blocks = nn.ModuleList(ConvNeXtBlock(dim, 1 / layers, causal) for _ in range(layers))
        self.final_norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, OVERLAP * frame_size // math.prod(rates) + 2)
        for m in self.modules():
            if isinstance(m, (nn.Conv1d, nn.ConvTranspose1d, nn.Linear)):
                nn.init.trunc_normal_(m.weight, std=0.02)
                nn.init.zeros_(m.bias)

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, cache: Cache | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As nn/codec/dac.py's Decoder: [B, latent_dim, T'], tokens [B], a stream's cache -> [B, 1, T], samples [B]."""
        x = zero_beyond(self.embed(zero_beyond(x, lengths), cache), lengths)
        for up in self.upsample:
            x = F.gelu(up(x))
            lengths = None if lengths is None else lengths * up.stride[0]
        x = zero_beyond(self.norm(x.transpose(1, 2)).transpose(1, 2), lengths)
        for block in self.blocks:
            x = block(x, lengths, cache)
        magnitude, phase = self.head(self.final_norm(x.transpose(1, 2))).transpose(1, 2).float().chunk(2, 1)
        spectrum = torch.polar(magnitude.exp().clamp(max=MAX_MAGNITUDE), phase)
        wav = (causal_istft(spectrum, lengths, cache) if self.causal else same_istft(spectrum, lengths)).to(x.dtype)
        return wav, None if lengths is None else lengths * (self.frame_size // math.prod(self.rates))

    def samples(self, n):
        """Samples out for `n` tokens in."""
        return n * self.frame_size

    @property
    def receptive_field(self) -> tuple[int, int]:
        """Tokens to the left and right of the token that holds a sample which the sample can depend on."""
        r, layers = math.prod(self.rates), len(self.blocks)
        if self.causal:
            return KERNEL - 1 + math.ceil((layers * (KERNEL - 1) + OVERLAP - 1) / r), 0
        reach = KERNEL // 2 + math.ceil((layers * (KERNEL // 2) + OVERLAP // 2) / r)
        return reach, reach


class _Conv(nn.Conv1d):
    """A convolution of kernel 7 that keeps the length, looking to both sides or back only."""

    def __init__(self, c_in: int, c_out: int, causal: bool, groups: int = 1):
        super().__init__(c_in, c_out, KERNEL, padding=0 if causal else KERNEL // 2, groups=groups)
        self.causal = causal

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:  # type: ignore[override]
        return super().forward(pad_left(x, KERNEL - 1, cache) if self.causal else x)


class ConvNeXtBlock(nn.Module):
    """x + scale * W_2 gelu(W_1 norm(depthwise conv_7(x))). Shape: [B, C, T] -> [B, C, T], zero past each item's length."""

    def __init__(self, dim: int, scale: float, causal: bool):
        super().__init__()
        self.conv = _Conv(dim, dim, causal, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.up, self.down = nn.Linear(dim, 3 * dim), nn.Linear(3 * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor, lengths: Tensor | None, cache: Cache | None = None) -> Tensor:
        y = self.norm(self.conv(x, cache).transpose(1, 2))
        y = self.scale * self.down(F.gelu(self.up(y)))
        return zero_beyond(x + y.transpose(1, 2), lengths)


def same_istft(spectrum: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Inverse STFT that gives hop samples a frame, each frame's window centred on them ("same" padding).

    y = overlap-add(w irfft(S)) / overlap-add(w^2), both over an item's own frames, so that batch == alone.

    Args:
        spectrum: complex [B, n_fft / 2 + 1, T]; hop is n_fft / 4 and must be even.
        lengths: [B] frames.

    Returns:
        [B, 1, T hop], zero past each item's own samples.
    """
    frames, window = _windowed(spectrum)
    envelope = window.square()[None, :, None].expand(1, -1, spectrum.shape[-1])
    if lengths is not None:
        frames = zero_beyond(frames, lengths)
        envelope = envelope * length_mask(lengths, spectrum.shape[-1])[:, None]
    hop, size = frames.shape[1] // OVERLAP, spectrum.shape[-1] * (frames.shape[1] // OVERLAP)
    first = hop * (OVERLAP - 1) // 2
    y, envelope = (_overlap_add(z).transpose(1, 2).flatten(1)[:, first : first + size] for z in (frames, envelope))
    y = (y / envelope.clamp(min=1e-11))[:, None]
    return zero_beyond(y, None if lengths is None else lengths * hop)


def causal_istft(spectrum: Tensor, lengths: Tensor | None = None, cache: Cache | None = None) -> Tensor:
    """Inverse STFT whose samples depend on their own and the three earlier frames; before the first frame is silence.

    The envelope of overlapped squared Hann windows is then 3/2 everywhere. Args, Returns: as `same_istft`.
    """
    frames, _ = _windowed(spectrum)
    frames = pad_left(zero_beyond(frames, lengths), OVERLAP - 1, cache)
    y = _overlap_add(frames)[..., OVERLAP - 1 : 1 - OVERLAP] / 1.5
    hop = y.shape[1]
    return zero_beyond(y.transpose(1, 2).flatten(1)[:, None], None if lengths is None else lengths * hop)


def _windowed(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Windowed frames [B, n_fft, T] in the time domain, and the Hann window [n_fft]."""
    window = torch.hann_window(2 * (spectrum.shape[1] - 1), device=spectrum.device)
    return torch.fft.irfft(spectrum, len(window), dim=1) * window[:, None], window


def _overlap_add(frames: Tensor) -> Tensor:
    """[B, 4 hop, T] -> [B, hop, T + 3], hop after hop: frame t is spread over hops t to t + 3."""
    quarters = frames.unflatten(1, (OVERLAP, -1))
    return sum(F.pad(quarters[:, j], (j, OVERLAP - 1 - j)) for j in range(OVERLAP))  # type: ignore[return-value]
