"""Causal convolutions: the same as Mimi's, blind to the future, and on a stream the same as on the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import MimiConfig
from transformers.models.mimi.modeling_mimi import MimiConv1d, MimiConvTranspose1d

from audiokd.nn.codec.bottleneck import Bottleneck
from audiokd.nn.codec.causal import Cache, CausalWNConv1d, CausalWNConvTranspose1d
from audiokd.nn.codec.dac import Decoder, Encoder
from audiokd.nn.codec.vocos import VocosDecoder

RATES, UP = (4, 5, 2), (2, 5, 4)
SIZE = 40


def _copy(ours: nn.Module, theirs: nn.Module) -> None:
    theirs.conv.weight.data, theirs.conv.bias.data = ours.weight.data, ours.bias.data


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (7, 1, 9), (3, 1, 1), (8, 4, 1), (10, 5, 1)])
def test_convolution_is_mimis(kernel: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    ours = CausalWNConv1d(3, 4, kernel, stride, dilation)
    theirs = MimiConv1d(MimiConfig(), 3, 4, kernel, stride, dilation, pad_mode="constant")
    _copy(ours, theirs)
    for n in (1, 19, 20, 21, 23):
        x = torch.randn(2, 3, n)
        y = ours(x)
        assert y.shape[-1] == -(-n // stride)
        torch.testing.assert_close(y, theirs(x))


@pytest.mark.parametrize("stride", [2, 5])
def test_transposed_convolution_is_mimis(stride: int) -> None:
    torch.manual_seed(0)
    ours = CausalWNConvTranspose1d(3, 4, stride)
    theirs = MimiConvTranspose1d(MimiConfig(), 3, 4, 2 * stride, stride)
    _copy(ours, theirs)
    x = torch.randn(2, 3, 7)
    assert ours(x).shape[-1] == 7 * stride
    torch.testing.assert_close(ours(x), theirs(x))


def _nets() -> dict[str, tuple[nn.Module, int, int, float, float]]:
    """Name: network, channels in, and how many of its inputs make how many outputs."""
    torch.manual_seed(0)
    plain = Encoder(4, RATES, 8, causal=True)
    attention = Bottleneck(8, 12, 2, 3, 3, causal=True)
    for block in attention.blocks:
        nn.init.ones_(block.scale1)
        nn.init.ones_(block.scale2)
    attending = Encoder(4, RATES, 8, causal=True, bottleneck=attention)
    return {
        "encoder": (plain, 1, SIZE, 1, SIZE),
        "bottleneck": (attending, 1, SIZE, 1, SIZE),
        "decoder": (Decoder(8, 32, UP, causal=True), 8, 1, SIZE, 1),
        "vocos": (VocosDecoder(8, 12, 2, (2,), SIZE, causal=True), 8, 1, SIZE, 1),
    }


@pytest.mark.parametrize("name", ["encoder", "bottleneck", "decoder", "vocos"])
def test_chunks_equal_the_whole_and_states_can_be_gone_back_to(name: str) -> None:
    net, channels, into, out, _ = _nets()[name]
    net = net.eval().requires_grad_(False)
    x = torch.randn(2, channels, 24 * into)
    whole, _ = net(x)
    assert whole.shape[-1] == 24 * out
    for chunks in ([1] * 24, [5, 1, 11, 7], [24]):
        state, parts, done = None, [], 0
        for n in chunks:
            part = x[..., done * into : (done + n) * into]
            cache, again = Cache(state), Cache(state)
            y = net(part, None, cache)[0]
            assert torch.equal(y, net(part, None, again)[0])  # the first run did not touch the state
            state, done = cache.state, done + n
            parts.append(y)
        torch.testing.assert_close(torch.cat(parts, -1), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["encoder", "bottleneck", "decoder", "vocos"])
def test_sees_nothing_to_come_and_its_receptive_field(name: str) -> None:
    net, channels, into, out, unit = _nets()[name]
    net = net.double()
    x = torch.randn(1, channels, 60 * into, dtype=torch.double, requires_grad=True)
    left, right = net.receptive_field  # samples for an encoder, frames for a decoder
    y = net(x)[0]
    at = 50 * out
    seen = torch.autograd.grad(y[0, :, at : at + out].square().sum(), x)[0].abs().amax((0, 1)).nonzero()[:, 0]
    here = 50 * into
    assert right == unit - 1
    assert seen.max() == here + into - 1
    assert here - left <= seen.min() < here - left / 2


@pytest.mark.parametrize("name", ["encoder", "bottleneck", "decoder", "vocos"])
def test_batch_equals_alone(name: str) -> None:
    net, channels, into, out, _ = _nets()[name]
    net = net.eval().requires_grad_(False)
    lengths = [5 * into, 2 * into, 4 * into - (into > 1), 1]
    x = torch.randn(4, channels, max(lengths))  # garbage past the ends
    got, sizes = net(x, torch.tensor(lengths))
    for i, n in enumerate(lengths):
        alone, _ = net(x[i : i + 1, :, :n])
        assert alone.shape[-1] == sizes[i] == -(-n * out // into)
        torch.testing.assert_close(got[i : i + 1, :, : sizes[i]], alone, rtol=0, atol=1e-5)
        assert not got[i, :, sizes[i] :].any()


def test_names_are_those_of_the_other_kind() -> None:
    """Weights go over from a model of either kind to the other: only the padding differs."""
    for a, b in (
        (Encoder(4, RATES, 8, causal=True), Encoder(4, RATES, 8)),
        (Decoder(8, 32, UP, causal=True), Decoder(8, 32, UP)),
    ):
        shapes: list[dict[str, Tensor]] = [{k: v.shape for k, v in m.state_dict().items()} for m in (a, b)]
        assert shapes[0] == shapes[1]
