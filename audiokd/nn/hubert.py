"""HuBERT's encoder (Hsu et al., arXiv 2106.07447): convolutions over the waveform, then a transformer.

Modules and parameters are named as transformers' HubertModel has them. What differs is in how it runs: an item of a padded batch
gives what it gives alone, attention is torch's scaled_dot_product_attention, and each layer's output can be had one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

from audiokd.nn.lengths import conv_length, length_mask, zero_beyond
from audiokd.nn.over_time import normed_over_time

#: kernels and strides of HuBERT's seven convolutions: 320 samples a frame
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
EPS = 1e-5


def grad_multiplied(x: Tensor, factor: float) -> Tensor:
    """`x`, whose gradient is `factor` times what comes to it."""
    if factor != 1.0 and x.requires_grad:
        x = x.view_as(x)
        x.register_hook(lambda g: g * factor)
    return x


class _ConvLayer(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, norm: bool):
        super().__init__()
        self.conv = nn.Conv1d(c_in, c_out, kernel, stride, bias=False)
        self.layer_norm = nn.GroupNorm(c_out, c_out, EPS) if norm else None


class WaveConvs(nn.Module):
    """Convolutions without padding; the first one's channels are normed over time.

    Args:
        channels: of every layer.
        kernels, strides: of each layer.
        norm_padding: take padding into the first layer's norm, as the official code does: an item then depends on its batch.
    """

    def __init__(
        self,
        channels: int = 512,
        kernels: Sequence[int] = KERNELS,
        strides: Sequence[int] = STRIDES,
        norm_padding: bool = False,
    ):
        super().__init__()
        self.norm_padding = norm_padding
        self.conv_layers = nn.ModuleList(
            _ConvLayer(channels if i else 1, channels, k, s, norm=i == 0)
            for i, (k, s) in enumerate(zip(kernels, strides))
        )

    def frames(self, samples: Tensor) -> Tensor:
        """Frames of clips of so many samples, [B]."""
        for layer in self.conv_layers:
            samples = conv_length(samples, layer.conv.kernel_size[0], layer.conv.stride[0])
        return samples

    def forward(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """[B, T] with true samples [B] to [B, C, T']; what is past an item's `frames` is to be left out."""
        x, n = zero_beyond(wav[:, None], lengths), lengths
        for layer in self.conv_layers:
            x = layer.conv(x)
            n = conv_length(n, layer.conv.kernel_size[0], layer.conv.stride[0])
            if layer.layer_norm is not None:
                x = self._norm(layer.layer_norm, x, n)
            x = F.gelu(x)
        return x

    def _norm(self, norm: nn.GroupNorm, x: Tensor, n: Tensor) -> Tensor:
        if self.norm_padding or bool((n == x.shape[-1]).all()):
            return norm(x)
        return normed_over_time(x, n, norm.eps) * norm.weight[:, None] + norm.bias[:, None]


class FeatureProjection(nn.Module):
    """Norm and a linear layer, from the convolutions' channels to the transformer's width; [B, T', C] to [B, T', D]."""

    def __init__(self, channels: int, dim: int, dropout: float):
        super().__init__()
        self.layer_norm = nn.LayerNorm(channels, EPS)
        self.projection = nn.Linear(channels, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.projection(self.layer_norm(x)))


class _Positions(nn.Module):
    """A grouped convolution as wide as `kernel` frames, weight-normed over its taps."""

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, std=math.sqrt(4 / (kernel * dim)))
        nn.init.zeros_(conv.bias)
        self.conv = weight_norm(conv, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T', D] to the same."""
        y = self.conv(x.transpose(1, 2))[..., : x.shape[1]]  # an even kernel gives one frame more
        return F.gelu(y).transpose(1, 2)


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float, relax: float):
        super().__init__()
        self.heads, self.dropout, self.relax = heads, dropout, relax
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        b, n, d = x.shape
        q, k, v = (p(x).view(b, n, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        heard = F.scaled_dot_product_attention(
            q / self.relax,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            scale=self.relax / math.sqrt(d // self.heads),
        )
        return self.out_proj(heard.transpose(1, 2).reshape(b, n, d))


class _FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int, dropout: float, activation_dropout: float):
        super().__init__()
        self.intermediate_dense, self.output_dense = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.inner, self.outer = nn.Dropout(activation_dropout), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.output_dense(self.inner(F.gelu(self.intermediate_dense(x)))))


class Layer(nn.Module):
    """Self-attention and feed-forward with a norm before or after each.

    Args:
        dim, heads, hidden: sizes.
        pre_norm: norm before each branch (the large models), not after its sum.
        dropout, attention_dropout, activation_dropout: of branches, attention weights and the hidden layer.
        relax: queries are divided by it and the scores, in the softmax's own precision, multiplied: the same softmax, without
            overflow in float16 (MERT's attention relaxation).
        residual: what the skip path is multiplied by: 1, or DeepNorm's alpha (arXiv 2203.00555).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        pre_norm: bool,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        relax: float = 1.0,
        residual: float = 1.0,
    ):
        super().__init__()
        self.pre_norm, self.residual = pre_norm, residual
        self.attention = _Attention(dim, heads, attention_dropout, relax)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(dim, EPS)
        self.feed_forward = _FeedForward(dim, hidden, dropout, activation_dropout)
        self.final_layer_norm = nn.LayerNorm(dim, EPS)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T', D]; `mask` Bool [B, 1, 1, T'], True where a frame may be attended to."""
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.layer_norm(x), mask))
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(self.residual * x + self.dropout(self.attention(x, mask)))
        return self.final_layer_norm(self.residual * x + self.feed_forward(x))


class Encoder(nn.Module):
    """The transformer.

    Args:
        dim, depth, heads, hidden: sizes.
        pre_norm: norms before the branches and one at the end; else after them and one at the beginning.
        positions: kernel and groups of the positions' convolution.
        dropout, attention_dropout, activation_dropout, relax: of every layer.
        layerdrop: probability that a layer is left out in training.
        deepnorm: DeepNorm's skip path and first weights; of norms after the branches alone.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        pre_norm: bool,
        positions: tuple[int, int] = (128, 16),
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        relax: float = 1.0,
        layerdrop: float = 0.0,
        deepnorm: bool = False,
    ):
        super().__init__()
        self.pre_norm, self.layerdrop = pre_norm, layerdrop
        self.pos_conv_embed = _Positions(dim, *positions)
        self.layer_norm = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(dropout)
        residual = (2 * depth) ** 0.25 if deepnorm else 1.0
        self.layers = nn.ModuleList(
            Layer(dim, heads, hidden, pre_norm, dropout, attention_dropout, activation_dropout, relax, residual)
            for _ in range(depth)
        )
        if deepnorm:
            for layer in self.layers:
                a, f = layer.attention, layer.feed_forward
                for linear in (a.v_proj, a.out_proj, f.intermediate_dense, f.output_dense):
                    linear.shrink = (8 * depth) ** -0.25  # of its first weights

    def forward(self, x: Tensor, frames: Tensor) -> Iterator[Tensor]:
        """Projected frames [B, T', D], of which `frames` [B] count: what goes into the first layer, then each layer's output
        (before the last norm, where the norms are before the branches)."""
        x = zero_beyond(x.transpose(1, 2), frames).transpose(1, 2)
        x = x + self.pos_conv_embed(x)
        x = self.dropout(x if self.pre_norm else self.layer_norm(x))
        mask = None
        if bool((frames < x.shape[1]).any()):
            mask = length_mask(frames.clamp(min=1), x.shape[1])[:, None, None]
        yield x
        for layer in self.layers:
            if not (self.training and self.layerdrop and float(torch.rand(())) < self.layerdrop):
                x = layer(x, mask)
            yield x


def init_hubert(module: nn.Module) -> None:
    """First weights as BERT's and HuBERT's (fairseq, init_bert_params): linear layers from N(0, 0.02), smaller where DeepNorm has
    them so, biases 0, convolutions over the waveform by He's rule.

    Args:
        module: to initialise, without its children. transformers asks for none that has no parameters of its own: whatever is
            done here is done to a layer that holds them.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02 * getattr(module, "shrink", 1.0))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv1d) and not is_parametrized(module):  # the positions' has begun by itself
        nn.init.kaiming_normal_(module.weight)
