"""Vocos decoder: the inverse STFT of transformers' X-Codec2, of torch, and of a real recording; lengths and pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf
import torch
from torch import Tensor
from transformers import Xcodec2Config
from transformers.models.xcodec2.modeling_xcodec2 import Xcodec2ISTFTHead

from audiokd.nn.codec.vocos import VocosDecoder, causal_istft, same_istft

HOP = 80


def _spectrum(wav: Tensor, left: int) -> Tensor:
    """STFT [1, F, T] of `wav` [T HOP] with hop HOP, window 4 HOP; frame 0 starts `left` samples before the sound."""
    wav = torch.nn.functional.pad(wav, (left, 4 * HOP))
    return torch.stft(wav, 4 * HOP, HOP, window=torch.hann_window(4 * HOP), center=False, return_complex=True)[None]


def test_head_is_transformers() -> None:
    torch.manual_seed(0)
    theirs = Xcodec2ISTFTHead(Xcodec2Config(hidden_size=16))
    assert theirs.n_fft == 4 * theirs.hop_length
    x = torch.randn(2, 11, 16)
    magnitude, phase = theirs.linear(x).transpose(1, 2).chunk(2, 1)
    ours = same_istft(torch.polar(magnitude.exp(), phase))
    torch.testing.assert_close(ours, theirs(x), rtol=0, atol=1e-5)


def test_inverts_the_stft_of_speech(beckett: Path) -> None:
    wav = torch.from_numpy(sf.read(beckett, dtype="float32", frames=16000)[0])
    t = len(wav) // HOP
    same = same_istft(_spectrum(wav, 3 * HOP // 2)[..., :t])[0, 0]
    torch.testing.assert_close(same[2 * HOP : -2 * HOP], wav[2 * HOP : -2 * HOP], rtol=0, atol=1e-5)
    causal = causal_istft(_spectrum(wav, 0)[..., :t])[0, 0]
    torch.testing.assert_close(causal[3 * HOP :], wav[3 * HOP :], rtol=0, atol=1e-5)
    assert same.shape == causal.shape == wav.shape
    torch.testing.assert_close(  # torch's own, which cannot take "same" padding, on the stretch where all windows overlap
        same[2 * HOP : 100 * HOP],
        torch.istft(_spectrum(wav, 2 * HOP)[0], 4 * HOP, HOP, window=torch.hann_window(4 * HOP))[2 * HOP : 100 * HOP],
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize("istft", [same_istft, causal_istft])
def test_istft_batch_equals_alone(istft) -> None:
    torch.manual_seed(0)
    spectrum, lengths = torch.randn(3, 2 * HOP + 1, 6, dtype=torch.cfloat), torch.tensor([6, 1, 3])
    got = istft(spectrum, lengths)
    for i, n in enumerate(lengths):
        torch.testing.assert_close(got[i : i + 1, :, : n * HOP], istft(spectrum[i : i + 1, :, :n]), rtol=0, atol=1e-5)
        assert not got[i, :, n * HOP :].any()


def _net(rates: tuple[int, ...] = (2, 2)) -> VocosDecoder:
    torch.manual_seed(0)
    return VocosDecoder(5, 8, 3, rates, 64).eval().requires_grad_(False)


@pytest.mark.parametrize("rates", [(4,), (2, 2), (1,), ()])
def test_lengths_batch_and_receptive_field(rates: tuple[int, ...]) -> None:
    net, lengths = _net(rates), torch.tensor([9, 1, 4])
    z = 5 * torch.randn(3, 5, 9)
    got, sizes = net(z, lengths)
    assert got.shape == (3, 1, 9 * 64)
    assert sizes.tolist() == net.samples(lengths).tolist() == [576, 64, 256]
    for i, n in enumerate(lengths):
        torch.testing.assert_close(got[i : i + 1, :, : n * 64], net(z[i : i + 1, :, :n])[0], rtol=0, atol=1e-5)
        assert not got[i, :, n * 64 :].any()
    z = torch.randn(1, 5, 61, requires_grad=True)
    (left, right), wav = net.receptive_field, net(z)[0][0, 0]
    edges = [torch.autograd.grad(wav[30 * 64 + at].square(), z, retain_graph=True)[0] for at in (0, 31, 63)]
    seen = torch.stack(edges).abs().amax((0, 1, 2)).nonzero()[:, 0]
    assert 30 - left <= seen.min() <= 30 - left + 1
    assert 30 + right - 1 <= seen.max() <= 30 + right


def test_gradients_reach_every_weight() -> None:
    net = _net().train().requires_grad_(True)
    wav, _ = net(torch.randn(2, 5, 7), torch.tensor([7, 2]))
    wav.square().mean().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


def test_a_wild_magnitude_is_clipped() -> None:
    net = _net()
    net.head.bias[: net.head.out_features // 2] = 1000.0
    assert net(torch.randn(1, 5, 4))[0].isfinite().all()
