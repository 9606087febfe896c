"""Someone else's convolutions on a padded batch, so that each item hears past its end what it hears there alone: zeros."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from audiokd.nn.lengths import conv_length, conv_transpose_length, zero_beyond


def masked_convs(net: nn.Module, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """`net(x)` with everything past an item's end set to zero before each convolution, as the convolutions' own padding is.

    Args:
        net: zero-padded convolutions that run one after another, beside layers that work on each position alone; a branch that
            is added to another has convolutions of stride 1 which keep the length.
        x: [B, C, T].
        lengths: true positions [B]; None where all of T are.

    Returns:
        [B, C', T'], and how many of T' are true [B] (None without lengths); what is past them means nothing.
    """
    if lengths is None or bool((lengths == x.shape[-1]).all()):
        y = net(x)
        return y, None if lengths is None else lengths.new_full(lengths.shape, y.shape[-1])
    n: Tensor = lengths

    def before(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (zero_beyond(args[0], n), *args[1:])

    def after(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        nonlocal n
        n = _length_after(layer, n)

    with ExitStack() as hooks:
        for layer in net.modules():
            if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)) and layer.kernel_size != (1,):
                hooks.enter_context(_removed(layer.register_forward_pre_hook(before)))
                hooks.enter_context(_removed(layer.register_forward_hook(after)))
        y = net(x)
    return y, n


def _length_after(layer: Any, n: Tensor) -> Tensor:
    (kernel,), (stride,), (padding,), (dilation,) = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    if isinstance(layer, nn.ConvTranspose1d):
        return conv_transpose_length(n, kernel, stride, padding) + layer.output_padding[0] * (n > 0)
    return conv_length(n, kernel, stride, padding, dilation)


@contextmanager
def _removed(handle: Any):
    try:
        yield
    finally:
        handle.remove()
