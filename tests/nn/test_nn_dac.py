"""DAC encoder and decoder: lengths, receptive fields, and an item's output free of its batch mates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from audiokd.nn.codec.dac import Decoder, Encoder
from audiokd.nn.lengths import zero_beyond

RATES, UP = (4, 5, 6, 8, 2), (2, 8, 6, 5, 4)


def _encoder(rates=RATES) -> Encoder:
    torch.manual_seed(0)
    return _positive(Encoder(2, rates, 4).eval().requires_grad_(False))


def _decoder(rates=UP) -> Decoder:
    torch.manual_seed(0)
    return _positive(Decoder(4, 64, rates).eval().requires_grad_(False))


def _positive(net: nn.Module) -> nn.Module:
    """Positive taps of unit gain: nothing cancels, and the far edge of a receptive field stays above double rounding."""
    for name, p in net.named_parameters():
        if name.endswith("weight_v"):
            p.abs_()
        elif name.endswith("alpha"):
            p.fill_(0.2)
    return net


def test_encoder_frames() -> None:
    net = _encoder()
    for n in (1, 1915, 1916, 1919, 1920, 1921, 3836, 5000, 9600):
        want = (n // 4 + 1) // 480
        assert net.frames(n) == want
        assert net.frames(torch.tensor([n])).tolist() == [want]
        if want:
            assert net(torch.zeros(1, 1, n))[0].shape == (1, 4, want)


def test_whole_frames_give_whole_frames() -> None:
    assert [_encoder().frames(1920 * t) for t in (1, 2, 7)] == [1, 2, 7]
    assert _encoder((2, 4)).frames(8 * 11) == 11


@pytest.mark.parametrize(("rates", "lost"), [(UP, 4), ((8, 8, 5, 4), 4), ((8, 4), 0), ((4, 5), 1), ((5, 4), 4)])
def test_decoder_samples(rates: tuple[int, ...], lost: int) -> None:
    net, size = _decoder(rates), torch.tensor(rates).prod().item()
    for frames in (1, 3):
        assert net.samples(frames) == size * frames - lost
        assert net(torch.zeros(1, 4, frames))[0].shape == (1, 1, size * frames - lost)
    assert net.samples(torch.tensor([0, 2])).tolist() == [0, 2 * size - lost]


def test_encoder_receptive_field() -> None:
    net = _encoder().double()
    left, right = net.receptive_field
    frame, size = 40, 1920
    wav = torch.rand(1, 1, 80 * size, dtype=torch.double, requires_grad=True)
    net(wav)[0][0, :, frame].sum().backward()
    seen = wav.grad[0, 0].nonzero()[:, 0]
    assert seen.min() >= frame * size - left
    assert seen.max() <= frame * size + right
    assert seen.min() < frame * size - left + 40  # and not much wider than it need be
    assert seen.max() > frame * size + right - 40
    assert left + right < 4.2 * 24000  # 3.96 s in all was measured on the official code


def test_decoder_receptive_field() -> None:
    net = _decoder().double()
    (reach, right), size = net.receptive_field, 1920
    assert right == reach
    z = torch.rand(1, 4, 80, dtype=torch.double, requires_grad=True)
    wav = net(z)[0][0, 0]
    widest = 0
    for sample in (40 * size, 40 * size + 900, 41 * size - 1):
        z.grad = None
        wav[sample].atanh().backward(retain_graph=True)  # tanh of positive taps may saturate
        seen = z.grad.abs().amax((0, 1)).nonzero()[:, 0]
        assert seen.min() >= 40 - reach
        assert seen.max() <= 40 + reach
        widest = max(widest, 40 - int(seen.min()), int(seen.max()) - 40)
    assert widest >= reach - 3


@pytest.mark.parametrize("lengths", [(9600, 1920, 5760), (5000, 9000, 1917)])
def test_encoder_batch_equals_alone_at_every_layer(lengths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = Encoder(4, RATES, 8).eval().requires_grad_(False)
    wav = torch.randn(len(lengths), 1, max(lengths))  # the padding is full of garbage
    got = _layers(net, lambda: net(wav, torch.tensor(lengths)))
    for i, n in enumerate(lengths):
        alone = _layers(net, lambda i=i, n=n: net(wav[i : i + 1, :, :n]))
        assert len(alone) == len(RATES) + 1
        for a, b in zip(alone, got):
            torch.testing.assert_close(b[i : i + 1, :, : a.shape[-1]], a, rtol=0, atol=5e-5)
            assert not b[i, :, a.shape[-1] :].any()
    z, frames = net(wav, torch.tensor(lengths))
    assert frames.tolist() == [(n // 4 + 1) // 480 for n in lengths]
    assert z.shape[-1] == frames.max()


def test_decoder_batch_equals_alone_at_every_layer() -> None:
    torch.manual_seed(0)
    net = Decoder(8, 64, UP).eval().requires_grad_(False)
    lengths = (4, 1, 3)
    z = torch.randn(3, 8, 4)
    got = _layers(net, lambda: net(z, torch.tensor(lengths)))
    for i, t in enumerate(lengths):
        alone = _layers(net, lambda i=i, t=t: net(z[i : i + 1, :, :t]))
        assert len(alone) == len(UP) + 1
        for a, b in zip(alone, got):
            torch.testing.assert_close(b[i : i + 1, :, : a.shape[-1]], a, rtol=0, atol=5e-5)
            assert not b[i, :, a.shape[-1] :].any()
    assert net(z, torch.tensor(lengths))[1].tolist() == [1920 * t - 4 for t in lengths]


def test_official_code_would_differ() -> None:
    """Without lengths the end of a short item changes: the masks are not idle."""
    torch.manual_seed(0)
    net = Encoder(4, RATES, 8).eval().requires_grad_(False)
    wav = zero_beyond(torch.randn(2, 1, 9600), torch.tensor([9600, 3840]))
    alone, unmasked = net(wav[1:, :, :3840])[0], net(wav)[0][1:, :, :2]
    assert (alone - unmasked).abs().max() > 1e-4


def _layers(net: nn.Module, run: Callable[[], tuple[Tensor, Tensor | None]]) -> list[Tensor]:
    """What every residual block of the network and the network itself gave in one run."""
    out: list[Tensor] = []
    blocks = [m for m in net.modules() if type(m).__name__ in ("EncoderBlock", "DecoderBlock")]
    hooks = [m.register_forward_hook(lambda _, __, y: out.append(y[0])) for m in (*blocks, net)]
    run()
    for h in hooks:
        h.remove()
    return out
