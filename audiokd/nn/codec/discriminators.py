"""Multi-period and multi-band complex STFT discriminators of DAC (https://arxiv.org/abs/2306.06546).

Each gives its feature maps, logits last. The input is made free of DC and scaled to a peak of 0.8 first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.nn.weight_norm import WNConv2d

BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))


class PeriodDiscriminator(nn.Module):
    """2-D convolutions over a waveform folded at a period (HiFi-GAN, https://arxiv.org/abs/2010.05646).

    Args:
        period: samples a row.
        channels: widths of the five layers.
    """

    def __init__(self, period: int, channels: Sequence[int] = (32, 128, 512, 1024, 1024)):
        super().__init__()
        self.period = period
        strides = [3] * (len(channels) - 1) + [1]
        self.convs = nn.ModuleList(
            WNConv2d(a, b, (5, 1), (s, 1), (2, 0)) for (a, b), s in zip(pairwise((1, *channels)), strides)
        )
        self.conv_post = WNConv2d(channels[-1], 1, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> list[Tensor]:
        """`x` [B, T] -> feature maps, logits last."""
        x = F.pad(x[:, None], (0, self.period - x.shape[-1] % self.period), mode="reflect")
        x = x.unflatten(-1, (-1, self.period))
        maps = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
            maps.append(x)
        return [*maps, self.conv_post(x)]


class BandDiscriminator(nn.Module):
    """2-D convolutions over a complex STFT, one stack a frequency band.

    Args:
        window: STFT window in samples (periodic Hann, hop a quarter).
        channels: width of every layer.
        bands: shares of the spectrum.
    """

    def __init__(self, window: int, channels: int = 64, bands: Sequence[tuple[float, float]] = BANDS):
        super().__init__()
        self.window_length, self.hop = window, window // 4
        bins = window // 2 + 1
        self.bands = [(int(a * bins), int(b * bins)) for a, b in bands]
        self.band_convs = nn.ModuleList(
            nn.ModuleList(
                [
                    WNConv2d(2, channels, (3, 9), 1, (1, 4)),
                    *[WNConv2d(channels, channels, (3, 9), (1, 2), (1, 4)) for _ in range(3)],
                    WNConv2d(channels, channels, (3, 3), 1, (1, 1)),
                ]
            )
            for _ in self.bands
        )
        self.conv_post = WNConv2d(channels, 1, (3, 3), 1, (1, 1))
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    def spectrogram(self, x: Tensor) -> Tensor:
        """`x` [B, T] -> [B, 2, ceil(T / hop), bins]: as many frames as a convolution of stride `hop` would give."""
        pad = (self.window_length - self.hop) // 2
        x = F.pad(x[:, None], (pad, pad + -x.shape[-1] % self.hop), mode="reflect")[:, 0]
        spec = torch.stft(x.float(), self.window_length, self.hop, window=self.window, return_complex=True)[..., 2:-2]
        return torch.view_as_real(spec).permute(0, 3, 2, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """`x` [B, T] -> feature maps of every band, logits last."""
        spec = self.spectrogram(x)
        maps, ends = [], []
        for (a, b), convs in zip(self.bands, self.band_convs):
            band = spec[..., a:b]
            for conv in convs:
                band = F.leaky_relu(conv(band), 0.1)
                maps.append(band)
            ends.append(band)
        return [*maps, self.conv_post(torch.cat(ends, -1))]


class CodecDiscriminator(nn.Module):
    """All of them.

    Args:
        periods: of the period discriminators.
        windows: of the band discriminators.
        period_channels, band_channels: their widths.
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        windows: Sequence[int] = (2048, 1024, 512),
        period_channels: Sequence[int] = (32, 128, 512, 1024, 1024),
        band_channels: int = 64,
    ):
        super().__init__()
        self.discriminators = nn.ModuleList(
            [PeriodDiscriminator(p, period_channels) for p in periods]
            + [BandDiscriminator(w, band_channels) for w in windows]
        )

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """`x` [B, T] -> each discriminator's feature maps, logits last."""
        x = x - x.mean(-1, keepdim=True)
        x = 0.8 * x / (x.abs().amax(-1, keepdim=True) + 1e-9)
        return [d(x) for d in self.discriminators]
