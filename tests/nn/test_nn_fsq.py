"""Finite scalar quantisation: X-Codec2's of transformers, codes there and back, gradients; and the quantiser bypass."""

from __future__ import annotations

import pytest
import torch
from transformers import Xcodec2Config
from transformers.models.xcodec2.modeling_xcodec2 import Xcodec2FiniteScalarQuantization

from audiokd.nn.quantizers.fsq import FSQ
from audiokd.nn.quantizers.rvq import ResidualVQ
from audiokd.nn.quantizers.split import SplitQuantizer
from audiokd.training.revival import CodebookRevival

LEVELS = (8, 5, 2, 4)


@pytest.fixture
def fsq() -> FSQ:
    torch.manual_seed(0)
    return FSQ(6, LEVELS)


@pytest.fixture
def z() -> torch.Tensor:
    torch.manual_seed(3)
    return 4 * torch.randn(4, 6, 50)


def test_is_transformers(fsq: FSQ, z: torch.Tensor) -> None:
    theirs = Xcodec2FiniteScalarQuantization(Xcodec2Config(quantization_levels=list(LEVELS)))
    with torch.no_grad():
        want, indices = theirs(fsq.in_proj(z).transpose(1, 2))
        z_q, codes, *_ = fsq(z)
    assert torch.equal(codes, indices.long())
    torch.testing.assert_close(z_q, fsq.out_proj(want.transpose(1, 2)))


def test_every_code_goes_there_and_back(fsq: FSQ) -> None:
    assert fsq.codebook_size == 320
    codes = torch.arange(320)[None]
    values = torch.linalg.lstsq(fsq.out_proj.weight[..., 0], fsq.decode(codes)[0]).solution  # W_out undone
    levels = [v.unique(dim=0).numel() for v in (values * 1000).round()]
    assert levels == list(LEVELS)
    assert values.abs().max() < 1 + 1e-4
    assert values.t().unique(dim=0).shape == (320, 4)


def test_interface_of_a_vector_quantizer(fsq: FSQ, z: torch.Tensor) -> None:
    z_q, codes, commitment, codebook, latent = fsq(z)
    assert torch.equal(fsq.encode(z), codes)
    assert codes.unique().numel() > 60
    torch.testing.assert_close(fsq.decode(codes), z_q, rtol=0, atol=1e-5)
    assert (commitment.tolist(), codebook.tolist()) == ([0.0] * 4, [0.0] * 4)
    torch.testing.assert_close(latent, fsq.in_proj(z))
    margin = fsq.margin(z)
    assert 0 <= margin.min() < 0.01 < margin.max() <= 1


def test_margin_tells_how_near_a_code_is_to_changing(fsq: FSQ, z: torch.Tensor) -> None:
    codes, margin = fsq.encode(z), fsq.margin(z)
    changed = fsq.encode(z + 0.01 * torch.randn_like(z)) != codes
    assert changed.any()
    assert margin[changed].max() < 0.1 < margin.mean()


def test_gradient_goes_straight_through_the_rounding(fsq: FSQ, z: torch.Tensor) -> None:
    z.requires_grad_()
    half = torch.tensor([n // 2 for n in LEVELS])[:, None]
    weight = torch.randn(4, 6, 50)
    got = torch.autograd.grad((fsq(z)[0] * weight).sum(), z)[0]
    want = torch.autograd.grad((fsq.out_proj(fsq.bound(fsq.in_proj(z)) / half) * weight).sum(), z)[0]
    torch.testing.assert_close(got, want)
    assert got.abs().max() > 0


def test_in_a_split_quantizer_with_revival(z: torch.Tensor) -> None:
    split = SplitQuantizer(ResidualVQ(6, 1, 0, fsq_levels=LEVELS), ResidualVQ(6, 2, 8, 3)).train()
    out = split(z, torch.randn_like(z))
    assert split.cardinality == [320, 8, 8]
    assert torch.equal(split.encode(z, None, 1), out.codes[:, :1])
    torch.testing.assert_close(split.decode_semantic(out.codes), out.z_semantic, rtol=0, atol=1e-5)
    assert split.margin(z, torch.randn_like(z)).shape == out.codes.shape
    assert (out.commit_semantic, out.codebook_semantic) == (0, 0)
    revival = CodebookRevival(split.streams, 1)
    assert [k for k, _ in revival.named_buffers()] == ["idle1", "idle2"]
    codes = out.codes.clone()
    codes[:, 1:] = 0
    assert revival.step(codes, out.latents) == 14  # 7 unused codes of each acoustic codebook


# quantiser bypass


def _rvq(kind: str, bypass: float) -> ResidualVQ:
    torch.manual_seed(1)
    return ResidualVQ(6, 1, 32, 3, bypass=bypass, fsq_levels=LEVELS if kind == "fsq" else ())


@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_bypass_leaves_out_the_rounding_of_whole_items(kind: str, z: torch.Tensor) -> None:
    rvq = _rvq(kind, 0.5).train()
    q = rvq.quantizers[0]
    rounded = rvq.decode(rvq.encode(z))
    if kind == "vq":
        smooth = q.out_proj(q.in_proj(z))
    else:
        smooth = q.out_proj(q.bound(q.in_proj(z)) / torch.tensor([n // 2 for n in LEVELS])[:, None])
    plain = _rvq(kind, 0.0).train()(z)[2:4]
    seen = 0
    for _ in range(50):
        z_q, codes, commitment, codebook, _ = rvq(z)
        past = (z_q - smooth).abs().amax((1, 2)) < 1e-5
        assert ((z_q - rounded).abs().amax((1, 2)) < 1e-5).tolist() == (~past).tolist()  # each item is one or the other
        seen += int(past.sum())
        assert torch.equal(codes, rvq.encode(z))  # codes and losses are counted as ever
        torch.testing.assert_close((commitment, codebook), plain)
    assert 60 < seen < 140  # of 200
    assert torch.equal(rvq.eval()(z)[0], _rvq(kind, 0.0).eval()(z)[0])


@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_bypass_changes_no_gradient_of_the_latent(kind: str, z: torch.Tensor) -> None:
    z.requires_grad_()
    weight = torch.randn(4, 6, 50)
    grads = [torch.autograd.grad((_rvq(kind, p).train()(z)[0] * weight).sum(), z)[0] for p in (0.0, 1.0)]
    torch.testing.assert_close(grads[0], grads[1])
    assert grads[0].abs().max() > 0


def test_off_draws_no_random_numbers(z: torch.Tensor) -> None:
    rvq = _rvq("vq", 0.0).train()
    state = torch.get_rng_state()
    rvq(z)
    assert torch.equal(torch.get_rng_state(), state)


def test_both_decoders_see_the_same_unrounded_stream(z: torch.Tensor) -> None:
    split = SplitQuantizer(_rvq("vq", 1.0), ResidualVQ(6, 2, 8, 3)).train()
    q = split.semantic.quantizers[0]
    out = split(z, 0.1 * z)
    smooth = q.out_proj(q.in_proj(z))
    torch.testing.assert_close(out.z_semantic, smooth)
    torch.testing.assert_close(out.z, smooth + split.acoustic(0.1 * z - smooth)[0])
