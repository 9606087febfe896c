"""Discriminators of DAC: shapes, spectrogram frames, and no eye for DC or level."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from audiokd.nn.codec.discriminators import BandDiscriminator, CodecDiscriminator, PeriodDiscriminator


@pytest.mark.parametrize("period", [2, 3, 11])
@pytest.mark.parametrize("size", [2400, 2401])
def test_period_shapes(period: int, size: int) -> None:
    *maps, logits = PeriodDiscriminator(period, (4, 8, 8, 8, 8))(torch.randn(2, size))
    rows = size // period + 1  # a whole row is added where the period divides, as in the official code
    for channels, stride, m in zip((4, 8, 8, 8, 8), (3, 3, 3, 3, 1), maps):
        rows = -(-rows // stride)
        assert m.shape == (2, channels, rows, period)
    assert len(maps) == 5
    assert logits.shape == (2, 1, rows, period)


def test_period_sees_every_period_th_sample_only() -> None:
    net, x = PeriodDiscriminator(3, (4, 4, 4, 4, 4)), torch.randn(1, 300)
    y = x.clone()
    y[0, 150] += 1  # 150 % 3 == 0: the first column
    changed = (net(x)[-1] - net(y)[-1]).abs().amax((0, 1, 2)) > 0
    assert changed.tolist() == [True, False, False]


@pytest.mark.parametrize("window", [512, 1024])
@pytest.mark.parametrize("size", [5119, 5120, 5121])
def test_band_spectrogram(window: int, size: int) -> None:
    net, hop = BandDiscriminator(window, 4), window // 4
    t = torch.arange(size) / size
    x = torch.sin(2 * torch.pi * 500 * t)[None]  # 500 cycles in `size` samples
    spec = net.spectrogram(x)
    assert spec.shape == (1, 2, -(-size // hop), window // 2 + 1)
    peak = spec.square().sum(1)[0, 5].argmax()
    assert abs(int(peak) - 500 * window / size) <= 1
    # frame f is the Hann window that starts (window - hop) / 2 before sample f hop
    f = 10
    start = f * hop - (window - hop) // 2
    want = torch.fft.rfft(x[0, start : start + window] * torch.hann_window(window))
    torch.testing.assert_close(torch.complex(*spec[0, :, f]), want, rtol=0, atol=2e-4)


def test_band_maps() -> None:
    net = BandDiscriminator(512, 4)
    *maps, logits = net(torch.randn(2, 2400))
    frames = -(-2400 // 128)
    assert net.bands == [(0, 25), (25, 64), (64, 128), (128, 192), (192, 257)]  # every bin in one band
    assert len(maps) == 5 * 5
    for (a, b), five in zip(net.bands, zip(*[iter(maps)] * 5)):
        assert [m.shape for m in five[:1]] == [(2, 4, frames, b - a)]
        assert five[-1].shape == (2, 4, frames, -(-(b - a) // 8))
    assert logits.shape == (2, 1, frames, sum(-(-(b - a) // 8) for a, b in net.bands))


def test_all_of_them() -> None:
    torch.manual_seed(0)
    net = CodecDiscriminator((2, 3), (512,), (4, 4, 4, 4, 4), 4)
    x = torch.randn(2, 2400)
    out = net(x)
    assert [len(maps) for maps in out] == [6, 6, 26]
    loud = net(x * torch.tensor([[7.0], [0.01]]) + 0.3)  # item by item: level and DC are gone
    for a, b in zip(out, loud):
        torch.testing.assert_close(a[-1], b[-1], rtol=0, atol=1e-4)
    normal = 0.8 * F.normalize(x - x.mean(-1, keepdim=True), p=torch.inf, dim=-1)
    torch.testing.assert_close(out[0][-1], net.discriminators[0](normal)[-1], rtol=0, atol=1e-6)
    for maps in net(torch.zeros(1, 2400)):
        assert all(m.isfinite().all() for m in maps)


def test_weight_of_the_released_discriminator() -> None:
    with torch.device("meta"):
        net = CodecDiscriminator()
    assert len(net.discriminators) == 8
    assert sum(p.numel() for p in net.discriminators[0].parameters()) == pytest.approx(8.2e6, rel=0.01)
