"""The convolutional encoder and decoder of DAC (https://arxiv.org/abs/2306.06546), on padded batches.

An item's output never depends on its batch mates: activations past its true end are set to zero before every
convolution that could see them. Lengths follow the convolutions' own arithmetic, so `lengths=None` and full lengths agree.
With `causal` all convolutions look back only (nn/codec/causal.py) and a stream can go through in chunks of whole frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from audiokd.nn.codec.bottleneck import Bottleneck
from audiokd.nn.codec.causal import Cache, CausalWNConv1d, CausalWNConvTranspose1d
from audiokd.nn.codec.snake import Snake1d
from audiokd.nn.lengths import conv_length, conv_transpose_length, zero_beyond
from audiokd.nn.weight_norm import WNConv1d, WNConvTranspose1d, keep_variance, zero_biases


def _conv(c_in: int, c_out: int, kernel_size: int, causal: bool, dilation: int = 1) -> WNConv1d:
    """A convolution of stride 1 that keeps the length."""
    if causal:
        return CausalWNConv1d(c_in, c_out, kernel_size, dilation=dilation)
    return WNConv1d(c_in, c_out, kernel_size, padding=(kernel_size - 1) * dilation // 2, dilation=dilation)


def _run(layer: nn.Module, x: Tensor, cache: Cache | None) -> Tensor:
    return layer(x) if cache is None else layer(x, cache)


class ResidualUnit(nn.Module):
    """x + conv1(snake(conv_k,d(snake(x)))). Shape: [B, C, T] -> [B, C, T]; x must be zero past each item's end."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, causal: bool = False):
        super().__init__()
        self.block = nn.Sequential(
            Snake1d(channels),
            _conv(channels, channels, kernel_size, causal, dilation),
            Snake1d(channels),
            WNConv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor, lengths: Tensor | None, cache: Cache | None = None) -> Tensor:
        snake, conv, *mix = self.block
        y = _run(conv, snake(x), cache)
        for layer in mix:
            y = layer(y)
        return zero_beyond(x + y, lengths)


class EncoderBlock(nn.Module):
    """Three residual units, then a strided convolution (kernel 2s, stride s, padding ceil(s/2)) that doubles the channels.

    Shape: [B, C, T] -> [B, 2 C, T'], lengths [B] -> [B] as `strided_length` has them; x must be zero past each item's end.
    """

    def __init__(self, channels: int, stride: int, kernel_size: int, dilations: Sequence[int], causal: bool = False):
        super().__init__()
        units = [ResidualUnit(channels, kernel_size, d, causal) for d in dilations]
        if causal:
            down: WNConv1d = CausalWNConv1d(channels, 2 * channels, 2 * stride, stride)
        else:
            down = WNConv1d(channels, 2 * channels, 2 * stride, stride, math.ceil(stride / 2))
        self.block = nn.Sequential(*units, Snake1d(channels), keep_variance(down))
        self.stride, self.causal = stride, causal

    def forward(self, x: Tensor, lengths: Tensor | None, cache: Cache | None = None) -> tuple[Tensor, Tensor | None]:
        *units, snake, down = self.block
        for unit in units:
            x = unit(x, lengths, cache)
        x = _run(down, snake(x), cache)
        lengths = None if lengths is None else strided_length(lengths, self.stride, self.causal)
        return zero_beyond(x, lengths), lengths


def strided_length(n, stride: int, causal: bool = False):
    """Frames out of an EncoderBlock for `n` frames in (n / stride where the stride divides n; causal: rounded up)."""
    return -(-n // stride) if causal else conv_length(n, 2 * stride, stride, math.ceil(stride / 2))


def upsampled_length(n, stride: int, causal: bool = False):
    """Frames out of a DecoderBlock for `n` frames in (n * stride, less one where the stride is odd and not causal)."""
    return n * stride if causal else conv_transpose_length(n, 2 * stride, stride, math.ceil(stride / 2))


class Encoder(nn.Module):
    """Waveform to latent frames.

    Args:
        channels: width of the first convolution; each block doubles it.
        rates: strides of the blocks; their product is the frame size in samples.
        latent_dim: channels of the output.
        kernel_size, dilations: of the residual units.
        causal: a frame sees its own and earlier samples only; ceil(T / frame_size) frames.
        bottleneck: runs on the frames at the end, where given.

    Shape: [B, 1, T] -> [B, latent_dim, T'], lengths [B] samples -> [B] frames.
    """

    def __init__(
        self,
        channels: int,
        rates: Sequence[int],
        latent_dim: int,
        kernel_size: int = 7,
        dilations: Sequence[int] = (1, 3, 9),
        causal: bool = False,
        bottleneck: Bottleneck | None = None,
    ):
        super().__init__()
        layers: list[nn.Module] = [keep_variance(_conv(1, channels, 7, causal))]
        for stride in rates:
            layers.append(EncoderBlock(channels, stride, kernel_size, dilations, causal))
            channels *= 2
        layers += [Snake1d(channels), keep_variance(_conv(channels, latent_dim, 3, causal))]
        self.block = nn.Sequential(*layers)
        self.bottleneck = bottleneck
        zero_biases(self)
        self.rates, self.kernel_size, self.dilations = tuple(rates), kernel_size, tuple(dilations)
        self.causal = causal

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, cache: Cache | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Latent of waveforms.

        Args:
            x: [B, 1, T]; what is past an item's length is not heard.
            lengths: true samples [B]; None where all of T are.
            cache: of a causal encoder's stream; T is then whole frames, and there are no lengths.

        Returns:
            [B, latent_dim, T'], zero past each item's frames, and the frames [B] (None without lengths).
        """
        first, *blocks, snake, last = self.block
        x = zero_beyond(_run(first, zero_beyond(x, lengths), cache), lengths)
        for block in blocks:
            x, lengths = block(x, lengths, cache)
        x = zero_beyond(_run(last, snake(x), cache), lengths)
        return (x if self.bottleneck is None else self.bottleneck(x, lengths, cache)), lengths

    def frames(self, n):
        """Frames out for `n` samples in."""
        for stride in self.rates:
            n = strided_length(n, stride, self.causal)
        return n

    @property
    def receptive_field(self) -> tuple[float, float]:
        """Samples to the left and right of sample `frame * frame_size` that a frame can depend on (inf: all of them).

        A causal encoder sees nothing to the right of its own frame: frame_size - 1 samples.
        """
        left, right, step = (6, 0, 1) if self.causal else (3, 3, 1)  # first convolution, kernel 7
        units = sum((self.kernel_size - 1) * d for d in self.dilations)
        for s in self.rates:
            pad = s if self.causal else math.ceil(s / 2)
            left += step * ((units if self.causal else units // 2) + pad)
            right += step * ((0 if self.causal else units // 2) + 2 * s - 1 - pad)
            step *= s
        left, right = (left + 2 * step, right) if self.causal else (left + step, right + step)  # last, kernel 3
        if self.bottleneck is None:
            return left, right
        before, after = self.bottleneck.receptive_field
        return left + step * before, right + step * after


class DecoderBlock(nn.Module):
    """Snake, a transposed convolution that halves the channels, three residual units.

    Shape: [B, c_in, T] -> [B, c_out, T'], lengths [B] -> [B] as `upsampled_length` has them; x must be zero past each end.
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, kernel_size: int, dilations: Sequence[int], causal: bool = False
    ):
        super().__init__()
        if causal:
            up: WNConvTranspose1d = CausalWNConvTranspose1d(c_in, c_out, stride)
        else:
            up = WNConvTranspose1d(c_in, c_out, 2 * stride, stride, math.ceil(stride / 2))
        units = [ResidualUnit(c_out, kernel_size, d, causal) for d in dilations]
        self.block = nn.Sequential(Snake1d(c_in), up, *units)
        self.stride, self.causal = stride, causal

    def forward(self, x: Tensor, lengths: Tensor | None, cache: Cache | None = None) -> tuple[Tensor, Tensor | None]:
        snake, up, *units = self.block
        x = _run(up, snake(x), cache)
        lengths = None if lengths is None else upsampled_length(lengths, self.stride, self.causal)
        x = zero_beyond(x, lengths)
        for unit in units:
            x = unit(x, lengths, cache)
        return x, lengths


class Decoder(nn.Module):
    """Latent frames to waveform in [-1, 1] (tanh).

    Args:
        latent_dim: channels of the input.
        channels: width of the first convolution; each block halves it.
        rates: strides of the blocks. An odd one gives one sample less than stride x frames, as in the official code.
        kernel_size, dilations: of the residual units.
        causal: a sample sees its own and earlier frames only; exactly stride x frames at every stride.

    Shape: [B, latent_dim, T'] -> [B, 1, T], lengths [B] frames -> [B] samples.
    """

    def __init__(
        self,
        latent_dim: int,
        channels: int,
        rates: Sequence[int],
        kernel_size: int = 7,
        dilations: Sequence[int] = (1, 3, 9),
        causal: bool = False,
    ):
        super().__init__()
        layers: list[nn.Module] = [_conv(latent_dim, channels, 7, causal)]
        for i, stride in enumerate(rates):
            layers.append(DecoderBlock(channels >> i, channels >> (i + 1), stride, kernel_size, dilations, causal))
        out = channels >> len(rates)
        layers += [Snake1d(out), _conv(out, 1, 7, causal), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        zero_biases(self)
        self.rates, self.kernel_size, self.dilations = tuple(rates), kernel_size, tuple(dilations)
        self.causal, self.frame_size = causal, math.prod(rates)

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, cache: Cache | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Waveform of latents.

        Args:
            x: [B, latent_dim, T'].
            lengths: true frames [B]; None where all of T' are.
            cache: of a causal decoder's stream, which has no lengths.

        Returns:
            [B, 1, T], zero past each item's samples, and the samples [B] (None without lengths).
        """
        first, *blocks, snake, last, tanh = self.model
        x = zero_beyond(_run(first, zero_beyond(x, lengths), cache), lengths)
        for block in blocks:
            x, lengths = block(x, lengths, cache)
        return zero_beyond(tanh(_run(last, snake(x), cache)), lengths), lengths

    def samples(self, n):
        """Samples out for `n` frames in."""
        for stride in self.rates:
            n = upsampled_length(n, stride, self.causal)
        return n

    @property
    def receptive_field(self) -> tuple[int, int]:
        """Frames to the left and right of the frame that holds a sample which the sample can depend on."""
        sides = 1 if self.causal else 2  # a causal convolution has both sides of the kernel on the left
        units = sum((self.kernel_size - 1) * d // sides for d in self.dilations)
        reach, step = 6 / sides, 1.0  # first convolution, counted in input frames
        for s in self.rates:
            reach += step * 2  # a transposed convolution of kernel 2s: the frame and one neighbour, rounded up
            step /= s
            reach += step * units
        reach = math.ceil(reach + step * 6 / sides)
        return reach, 0 if self.causal else reach
