"""Windowed attention blocks: who sees whom, positions that are relative, and no NaN where a row is all padding."""

from __future__ import annotations

import math

import pytest
import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from audiokd.nn.codec.bottleneck import Bottleneck, band_mask, rotate, rotation


def _net(window: int | None = 2, causal: bool = False, channels: int = 6) -> Bottleneck:
    torch.manual_seed(0)
    net = Bottleneck(channels, 8, 3, 2, window, causal).eval().requires_grad_(False)
    for block in net.blocks:  # as after training: at the start a block is next to nothing
        block.scale1.fill_(0.5)
        block.scale2.fill_(0.5)
    return net


def test_band_mask() -> None:
    cpu = torch.device("cpu")
    rows = band_mask(0, 4, 1, False, None, cpu)[0, 0].int().tolist()
    assert rows == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert band_mask(2, 2, 1, True, None, cpu)[0, 0].int().tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]
    padded = band_mask(0, 3, None, False, torch.tensor([3, 1]), cpu)[:, 0].int().tolist()
    assert padded == [[[1, 1, 1]] * 3, [[1, 0, 0], [1, 1, 0], [1, 0, 1]]]
    assert band_mask(0, 3, None, False, None, cpu) is None


def test_rotation_is_llamas_and_relative() -> None:
    q, k = torch.randn(1, 2, 9, 8), torch.randn(1, 2, 9, 8)
    turn = rotation(9, 8, q)
    cos, sin = (torch.cat([x, x], -1)[None] for x in turn)
    want_q, want_k = apply_rotary_pos_emb(q, k, cos, sin)
    torch.testing.assert_close((rotate(q, turn), rotate(k, turn)), (want_q, want_k))
    score = [
        rotate(q[..., :1, :], turn[:, p : p + 1]) @ rotate(k[..., :1, :], turn[:, p + 3 : p + 4]).mT for p in (0, 5)
    ]
    torch.testing.assert_close(score[0], score[1])


@pytest.mark.parametrize("causal", [False, True])
def test_receptive_field(causal: bool) -> None:
    net = _net(causal=causal).double()
    x = torch.randn(1, 6, 41, dtype=torch.double, requires_grad=True)
    net(x)[0, :, 20].square().sum().backward()
    seen = x.grad.abs().amax((0, 1)).nonzero()[:, 0]
    left, right = net.receptive_field
    assert (left, right) == (6, 0 if causal else 6)  # layers x window
    assert (seen.min(), seen.max()) == (20 - left, 20 + right)
    assert _net(None).receptive_field == (math.inf, math.inf)


@pytest.mark.parametrize("window", [2, None])
@pytest.mark.parametrize("channels", [6, 8])
def test_batch_equals_alone_and_padding_gives_no_nan(window: int | None, channels: int) -> None:
    net, lengths = _net(window, channels=channels), torch.tensor([12, 1, 7])
    x = 100 * torch.randn(3, channels, 12)
    got = net(x, lengths)
    assert got.isfinite().all()  # item 1 has whole windows of padding
    for i, n in enumerate(lengths):
        torch.testing.assert_close(got[i : i + 1, :, :n], net(x[i : i + 1, :, :n]), rtol=0, atol=1e-5)
        assert not got[i, :, n:].any()


def test_gradients_are_finite_and_reach_every_weight() -> None:
    net = _net().train().requires_grad_(True)
    net(torch.randn(2, 6, 9), torch.tensor([9, 2])).square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


def test_a_stretch_gives_the_same_wherever_it_is_cut_out() -> None:
    net, x = _net(), torch.randn(1, 6, 500)
    whole, cut = net(x), net(x[..., 300:400])
    torch.testing.assert_close(cut[..., 6:-6], whole[..., 306:394], rtol=0, atol=1e-5)
