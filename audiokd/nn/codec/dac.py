"""The convolutional encoder and decoder of DAC (https://arxiv.org/abs/2306.06546), on padded batches.

An item's output never depends on its batch mates: activations past its true end are set to zero before every
convolution that could see them. Lengths follow the convolutions' own arithmetic, so `lengths=None` and full lengths agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from audiokd.nn.codec.snake import Snake1d
from audiokd.nn.lengths import conv_length, conv_transpose_length, zero_beyond
from audiokd.nn.weight_norm import WNConv1d, WNConvTranspose1d, keep_variance, zero_biases


class ResidualUnit(nn.Module):
    """x + conv1(snake(conv_k,d(snake(x)))). Shape: [B, C, T] -> [B, C, T]; x must be zero past each item's end."""

    def __init__(self, channels: int, kernel_size: int, dilation: int):
        super().__init__()
        self.block = nn.Sequential(
            Snake1d(channels),
            WNConv1d(channels, channels, kernel_size, padding=(kernel_size - 1) * dilation // 2, dilation=dilation),
            Snake1d(channels),
            WNConv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        return zero_beyond(x + self.block(x), lengths)


class EncoderBlock(nn.Module):
    """Three residual units, then a strided convolution (kernel 2s, stride s, padding ceil(s/2)) that doubles the channels."""

    def __init__(self, channels: int, stride: int, kernel_size: int, dilations: Sequence[int]):
        super().__init__()
        units = [ResidualUnit(channels, kernel_size, d) for d in dilations]
        down = keep_variance(WNConv1d(channels, 2 * channels, 2 * stride, stride, math.ceil(stride / 2)))
        self.block = nn.Sequential(*units, Snake1d(channels), down)
        self.stride = stride

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        *units, snake, down = self.block
        for unit in units:
            x = unit(x, lengths)
        x = down(snake(x))
        lengths = None if lengths is None else strided_length(lengths, self.stride)
        return zero_beyond(x, lengths), lengths


def strided_length(n, stride: int):
    """Frames out of an EncoderBlock for `n` frames in (n / stride where the stride divides n)."""
    return conv_length(n, 2 * stride, stride, math.ceil(stride / 2))


def upsampled_length(n, stride: int):
    """Frames out of a DecoderBlock for `n` frames in (n * stride, less one where the stride is odd)."""
    return conv_transpose_length(n, 2 * stride, stride, math.ceil(stride / 2))


class Encoder(nn.Module):
    """Waveform to latent frames.

    Args:
        channels: width of the first convolution; each block doubles it.
        rates: strides of the blocks; their product is the frame size in samples.
        latent_dim: channels of the output.
        kernel_size, dilations: of the residual units.

    Shape: [B, 1, T] -> [B, latent_dim, T'], lengths [B] samples -> [B] frames.
    """

    def __init__(
        self,
        channels: int,
        rates: Sequence[int],
        latent_dim: int,
        kernel_size: int = 7,
        dilations: Sequence[int] = (1, 3, 9),
    ):
        super().__init__()
        layers: list[nn.Module] = [keep_variance(WNConv1d(1, channels, 7, padding=3))]
        for stride in rates:
            layers.append(EncoderBlock(channels, stride, kernel_size, dilations))
            channels *= 2
        layers += [Snake1d(channels), keep_variance(WNConv1d(channels, latent_dim, 3, padding=1))]
        self.block = nn.Sequential(*layers)
        zero_biases(self)
        self.rates, self.kernel_size, self.dilations = tuple(rates), kernel_size, tuple(dilations)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        first, *blocks, snake, last = self.block
        x = zero_beyond(first(zero_beyond(x, lengths)), lengths)
        for block in blocks:
            x, lengths = block(x, lengths)
        return zero_beyond(last(snake(x)), lengths), lengths

    def frames(self, n):
        """Frames out for `n` samples in."""
        for stride in self.rates:
            n = strided_length(n, stride)
        return n

    @property
    def receptive_field(self) -> tuple[int, int]:
        """Samples to the left and right of sample `frame * frame_size` that a frame can depend on."""
        left, right, step = 3, 3, 1  # first convolution
        units = sum((self.kernel_size - 1) * d // 2 for d in self.dilations)
        for s in self.rates:
            pad = math.ceil(s / 2)
            left += step * (units + pad)
            right += step * (units + 2 * s - 1 - pad)
            step *= s
        return left + step, right + step  # last convolution, kernel 3


class DecoderBlock(nn.Module):
    """Snake, a transposed convolution that halves the channels, three residual units."""

    def __init__(self, c_in: int, c_out: int, stride: int, kernel_size: int, dilations: Sequence[int]):
        super().__init__()
        up = WNConvTranspose1d(c_in, c_out, 2 * stride, stride, math.ceil(stride / 2))
        self.block = nn.Sequential(Snake1d(c_in), up, *[ResidualUnit(c_out, kernel_size, d) for d in dilations])
        self.stride = stride

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        snake, up, *units = self.block
        x = up(snake(x))
        lengths = None if lengths is None else upsampled_length(lengths, self.stride)
        x = zero_beyond(x, lengths)
        for unit in units:
            x = unit(x, lengths)
        return x, lengths


class Decoder(nn.Module):
    """Latent frames to waveform in [-1, 1] (tanh).

    Args:
        latent_dim: channels of the input.
        channels: width of the first convolution; each block halves it.
        rates: strides of the blocks. An odd one gives one sample less than stride x frames, as in the official code.
        kernel_size, dilations: of the residual units.

    Shape: [B, latent_dim, T'] -> [B, 1, T], lengths [B] frames -> [B] samples.
    """

    def __init__(
        self,
        latent_dim: int,
        channels: int,
        rates: Sequence[int],
        kernel_size: int = 7,
        dilations: Sequence[int] = (1, 3, 9),
    ):
        super().__init__()
        layers: list[nn.Module] = [WNConv1d(latent_dim, channels, 7, padding=3)]
        for i, stride in enumerate(rates):
            layers.append(DecoderBlock(channels >> i, channels >> (i + 1), stride, kernel_size, dilations))
        out = channels >> len(rates)
        layers += [Snake1d(out), WNConv1d(out, 1, 7, padding=3), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        zero_biases(self)
        self.rates, self.kernel_size, self.dilations = tuple(rates), kernel_size, tuple(dilations)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        first, *blocks, snake, last, tanh = self.model
        x = zero_beyond(first(zero_beyond(x, lengths)), lengths)
        for block in blocks:
            x, lengths = block(x, lengths)
        return zero_beyond(tanh(last(snake(x))), lengths), lengths

    def samples(self, n):
        """Samples out for `n` frames in."""
        for stride in self.rates:
            n = upsampled_length(n, stride)
        return n

    @property
    def receptive_field(self) -> int:
        """Frames on each side of the frame that holds a sample which the sample can depend on."""
        units = sum((self.kernel_size - 1) * d // 2 for d in self.dilations)
        reach, step = 3.0, 1.0  # first convolution, counted in input frames
        for s in self.rates:
            reach += (
                step * 2
            )  # a transposed convolution of kernel 2s: the frame and one neighbour each side, rounded up
            step /= s
            reach += step * units
        return math.ceil(reach + step * 3)
