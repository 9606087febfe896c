"""Learnt tokens behind those of any plain transformer, anew at each of its first layers (VPT deep, arXiv 2203.12119).

Nothing of the encoder is written again: for the time of a forward pass each layer is given the tokens with its input, and what it
makes of them is taken off its output, so that whoever runs the layers sees as many frames as before. At a layer without tokens of
its own those of the layer before go on, as in IVLP (arXiv 2212.03640).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: what begins the name of a weight in a layer of our encoders, or of transformers' as a trainable encoder holds them; other lists
#: are called layers too, such as data2vec's positional convolutions
LAYER = re.compile(r"^(?:blocks|encoder\.layers|body\.(?:encoder\.)?layers)\.(\d+)\.")


def layers_of(encoder: nn.Module) -> list[nn.Module]:
    """The transformer layers of an encoder, in order; none where it has none that are known."""
    return [module for name, module in encoder.named_modules() if LAYER.fullmatch(f"{name}.")]


@contextmanager
def layer_prompts(layers: Sequence[nn.Module], tokens: Tensor) -> Iterator[None]:
    """Within, `layers` hear `tokens` behind their input.

    Args:
        layers: that take [B, N, D] first and give that, or a tuple that begins with it; a mask is [B, 1, 1, N] or [B, 1, N, N],
            Bool with True for what is heard, or added to the scores.
        tokens: [depth, count, D].

    Raises:
        ValueError: more layers of tokens than there are layers.
    """
    if len(tokens) > len(layers):
        raise ValueError(f"tokens of {len(tokens)} layers for a tower of {len(layers)}")
    count = tokens.shape[1]
    left: list[Tensor] = []  # what the layer before made of its tokens

    def before(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x = args[0]
        own = tokens[number].to(x.dtype).expand(len(x), -1, -1) if number < len(tokens) else left.pop()
        left.clear()
        size = x.shape[1]
        rest = tuple(_wider(a, size, count) for a in args[1:])
        return (torch.cat([x, own], 1), *rest), {k: _wider(v, size, count) for k, v in kwargs.items()}

    def after(output: Any) -> Any:
        x = output[0] if isinstance(output, tuple) else output
        left.append(x[:, -count:])
        return (x[:, :-count], *output[1:]) if isinstance(output, tuple) else x[:, :-count]

    with ExitStack() as hooks:
        for number, layer in enumerate(layers):
            pre = layer.register_forward_pre_hook(lambda m, a, k, n=number: before(n, a, k), with_kwargs=True)
            post = layer.register_forward_hook(lambda m, a, output: after(output))
            hooks.callback(pre.remove)
            hooks.callback(post.remove)
        yield


def _wider(mask: Any, size: int, count: int) -> Any:
    """A mask that lets the tokens be heard, and hear what the last frame hears."""
    if not isinstance(mask, Tensor) or mask.ndim != 4 or mask.shape[-1] != size:
        return mask
    mask = F.pad(mask, (0, count), value=True if mask.dtype == torch.bool else 0.0)
    return torch.cat([mask, mask[:, :, -1:].expand(-1, -1, count, -1)], 2) if mask.shape[2] == size > 1 else mask
