"""How a codec starts decides whether a small run finds its codes: frames of real speech must not all point one way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from audiokd.data.audio import load_crop
from audiokd.data.utterance import Utterance
from audiokd.nn.codec.bottleneck import Bottleneck
from audiokd.nn.codec.dac import Encoder
from audiokd.nn.quantizers.vq import VectorQuantizer


@pytest.mark.parametrize("default_biases", [False, True])
def test_an_untrained_encoder_tells_frames_apart(two_cities: Path, default_biases: bool) -> None:
    torch.manual_seed(0)
    encoder, vq = Encoder(8, (4, 5, 6, 8, 2), 128), VectorQuantizer(128, 256, 8)
    if default_biases:  # torch's own: uniform within 1 / sqrt(fan in)
        for m in (*encoder.modules(), *vq.modules()):
            if hasattr(m, "weight_v"):
                bound = m.weight_v[0].numel() ** -0.5
                nn.init.uniform_(m.bias, -bound, bound)
    wav = torch.from_numpy(load_crop(Utterance("two_cities", str(two_cities)), 24000, 0.0, 20.0))
    with torch.no_grad():
        z = encoder(wav[None, None])[0]
        used = vq.encode(z).unique().numel()
    mean = nn.functional.normalize(z[0].t(), dim=-1).mean(0).norm()
    if default_biases:
        assert mean > 0.9
        assert used < 30
    else:
        assert mean < 0.2
        assert used > 50


def test_an_untrained_bottleneck_leaves_frames_apart(two_cities: Path) -> None:
    torch.manual_seed(0)
    encoder, vq = (
        Encoder(8, (4, 5, 6, 8, 2), 128, bottleneck=Bottleneck(128, 128, 8, 4, 25)),
        VectorQuantizer(128, 256, 8),
    )
    wav = torch.from_numpy(load_crop(Utterance("two_cities", str(two_cities)), 24000, 0.0, 20.0))
    with torch.no_grad():
        z = encoder(wav[None, None])[0]
    assert (
        nn.functional.normalize(z[0].t(), dim=-1).mean(0).norm() < 0.3
    )  # 0.8 with full-sized blocks and a norm at the end
    assert vq.encode(z).unique().numel() > 50


def test_the_signal_keeps_its_size(two_cities: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder(8, (4, 5, 6, 8, 2), 128)
    wav = torch.from_numpy(load_crop(Utterance("two_cities", str(two_cities)), 24000, 0.0, 5.0))
    with torch.no_grad():
        z = encoder(wav[None, None])[0]
    assert 0.1 < z.std() / wav.std() < 10  # a thousandth with torch's default variance
