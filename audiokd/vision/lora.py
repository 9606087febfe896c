"""Low-rank adapters (arXiv 2106.09685) in a frozen diffusion UNet, which can be off: two networks in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from audiokd.errors import AudiokdError

NAME = "fake"


def add_lora(unet: nn.Module, rank: int, alpha: float, targets: Sequence[str]) -> dict[str, nn.Parameter]:
    """Put adapters into `unet`, whose other parameters are frozen; at first they change nothing.

    Args:
        unet: the network; it stays of its class.
        rank, alpha: of the adapters; the product of the two matrices counts alpha / rank times.
        targets: names that the adapted modules end in, such as to_q.

    Returns:
        The adapters' parameters by name.

    Raises:
        AudiokdError: no module has such a name.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), init_lora_weights="gaussian")
    try:
        inject_adapter_in_model(config, unet, adapter_name=NAME)
    except ValueError as e:
        fix = "--lora.targets, endings of names of linear or convolution modules, such as to_q, to_v, conv1"
        raise AudiokdError(f"no adapter can be put in: {str(e).splitlines()[0]}", fix=fix) from e
    return {k: p for k, p in unet.named_parameters() if p.requires_grad}


@contextmanager
def lora_off(unet: nn.Module) -> Iterator[None]:
    """The network as it was before `add_lora`."""
    layers = [m for m in unet.modules() if isinstance(m, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
