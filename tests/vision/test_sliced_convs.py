"""Strided pointwise convolutions sliced first: the same numbers, and no writes past oneDNN's memory on CPUs without AVX-512."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from audiokd.vision.backbones import load_backbone
from audiokd.vision.segmenter import build_segmenter
from audiokd.vision.sliced_convs import slice_strided_pointwise

CL = torch.channels_last


def grads_of(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Output, and gradients of weights and input, by PyTorch's own kernels."""
    x = x.clone().requires_grad_()
    with torch.backends.mkldnn.flags(enabled=False):
        out = net(x)
        out.square().mean().backward()
    assert x.grad is not None
    return out.detach(), {"input": x.grad} | {n: p.grad for n, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("size", [(16, 16), (15, 18)])
@pytest.mark.parametrize("stride", [2, (3, 1)])
def test_the_same_numbers_and_gradients(stride: int | tuple[int, int], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 13, 3, padding=1), nn.ReLU(), nn.Conv2d(13, 5, 1, stride))
    sliced = slice_strided_pointwise(copy.deepcopy(plain))
    assert sliced[2].stride == (1, 1)
    assert list(sliced.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, *size).contiguous(memory_format=CL)
    (a, ga), (b, gb) = grads_of(plain, x), grads_of(slice_strided_pointwise(sliced), x)  # twice is once
    assert a.shape == b.shape
    torch.testing.assert_close(a, b)
    assert list(ga) == list(gb)
    for n in ga:
        torch.testing.assert_close(ga[n], gb[n], msg=n)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 4, 1, 2),
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(6, 6, 1, 2, groups=6),
        nn.Conv2d(3, 4, 1, 2, padding=1),
    ],
)
def test_others_are_left(conv: nn.Conv2d) -> None:
    stride = conv.stride
    slice_strided_pointwise(conv)
    assert conv.stride == stride
    assert not conv._forward_pre_hooks


def test_what_is_built_has_none_left() -> None:
    for net in (load_backbone("mobileone_s0"), build_segmenter("unet", "gernet_s")):
        found = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
        assert not [m for m in found if m.stride != (1, 1) and m.groups == 1 and m.in_channels % 8]
        assert any(m._forward_pre_hooks for m in found)


STEP = """
import torch
from audiokd.vision.segmenter import build_segmenter
torch.manual_seed(0)
torch.set_num_threads(1)
model = build_segmenter("unet", "tu-mobileone_s0")
model(torch.randn(2, 3, 64, 64)).square().mean().backward()
del model
"""


@pytest.mark.slow
def test_a_step_without_avx512() -> None:
    """Which ended in "corrupted double-linked list" or "free(): invalid pointer" before convolutions were sliced."""
    ended = subprocess.run(
        [sys.executable, "-c", STEP], env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-500:]
