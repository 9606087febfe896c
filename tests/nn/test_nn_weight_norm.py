"""Weight-normed convolutions equal torch's own parametrisation, in value, gradient and folded form."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from audiokd.nn.weight_norm import WNConv1d, WNConv2d, WNConvTranspose1d, fold_weight_norm

CASES = {
    "conv1d": (lambda: WNConv1d(3, 5, 4, 2, 3, 2), lambda: nn.Conv1d(3, 5, 4, 2, 3, 2), (2, 3, 31)),
    "conv2d": (
        lambda: WNConv2d(3, 5, (3, 9), (1, 2), (1, 4)),
        lambda: nn.Conv2d(3, 5, (3, 9), (1, 2), (1, 4)),
        (2, 3, 8, 21),
    ),
    "transpose": (lambda: WNConvTranspose1d(3, 5, 10, 5, 3), lambda: nn.ConvTranspose1d(3, 5, 10, 5, 3), (2, 3, 9)),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_torch(case: str) -> None:
    make, make_torch, shape = CASES[case]
    torch.manual_seed(1)
    ours = make()
    torch.manual_seed(1)
    plain = make_torch()
    x = torch.randn(shape)
    torch.testing.assert_close(ours(x), plain(x), rtol=0, atol=1e-5)  # w = g v / |v| starts at torch's own w

    theirs = weight_norm(plain, dim=0)
    with torch.no_grad():
        for p in (ours.weight_v, ours.bias):
            p.mul_(torch.rand_like(p) + 0.5)
        ours.weight_g.mul_(torch.rand_like(ours.weight_g) + 0.5)
        theirs.parametrizations.weight.original0.copy_(ours.weight_g)
        theirs.parametrizations.weight.original1.copy_(ours.weight_v)
        theirs.bias.copy_(ours.bias)
    y, y_torch = ours(x), theirs(x)
    torch.testing.assert_close(y, y_torch, rtol=0, atol=1e-6)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (y_torch * weight).sum().backward()
    torch.testing.assert_close(ours.weight_g.grad, theirs.parametrizations.weight.original0.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.weight_v.grad, theirs.parametrizations.weight.original1.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_fold(case: str) -> None:
    make, _, shape = CASES[case]
    conv, x = make(), torch.randn(shape)
    want, names = conv(x), set(conv.state_dict())
    assert names == {"weight_g", "weight_v", "bias"}  # the names of DAC and LM-SPT checkpoints
    assert fold_weight_norm(nn.Sequential(conv))[0] is conv
    torch.testing.assert_close(conv(x), want, rtol=0, atol=1e-6)
    assert set(conv.state_dict()) == names  # a folded model is saved like any other
    with torch.no_grad():
        conv.weight_g.mul_(2)
    torch.testing.assert_close(conv(x), want, rtol=0, atol=1e-6)  # fixed until folded again
    conv.fold()
    assert not torch.allclose(conv(x), want)
    assert conv.double()(x.double()).dtype == torch.double  # the folded weight moves along


def test_transposed_gain_is_per_input_channel() -> None:
    assert WNConvTranspose1d(3, 5, 4, 2, 1).weight_g.shape == (3, 1, 1)  # as in the official checkpoints
