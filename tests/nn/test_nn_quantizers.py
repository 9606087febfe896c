"""Vector quantisers: nearest neighbours, losses, gradients, residuals, dropout, and codes that decode to what was encoded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.nn.quantizers.rvq import ResidualVQ
from audiokd.nn.quantizers.split import SplitQuantizer
from audiokd.nn.quantizers.vq import VectorQuantizer

D, T = 6, 9


@pytest.fixture
def z() -> Tensor:
    torch.manual_seed(3)
    return torch.randn(4, D, T)


@pytest.fixture
def vq() -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(D, 32, 3)


@pytest.fixture
def rvq() -> ResidualVQ:
    torch.manual_seed(1)
    return ResidualVQ(D, 4, 32, 3, dropout=0.5)


def _split(subtract: bool = True) -> SplitQuantizer:
    torch.manual_seed(2)
    return SplitQuantizer(ResidualVQ(D, 2, 16, 3), ResidualVQ(D, 3, 8, 3, 0.5), subtract)


def test_nearest_neighbour_is_brute_force_l2_of_unit_vectors(vq: VectorQuantizer, z: Tensor) -> None:
    z_e = F.normalize(vq.in_proj(z), dim=1)
    book = F.normalize(vq.codebook.weight, dim=1)
    want = [[torch.stack([(z_e[b, :, t] - c).norm() for c in book]).argmin() for t in range(T)] for b in range(4)]
    codes = vq(z)[1]
    assert codes.tolist() == torch.tensor(want).tolist()
    assert torch.equal(vq.encode(z), codes)
    with torch.no_grad():  # the codes' own lengths play no part in the search
        vq.codebook.weight.mul_(torch.rand(32, 1) + 0.1)
    assert torch.equal(vq.encode(z), codes)


def test_vq_losses_and_decode(vq: VectorQuantizer, z: Tensor) -> None:
    z_q, codes, commitment, codebook, latent = vq(z)
    z_e, c = vq.in_proj(z), vq.codebook.weight[codes].permute(0, 2, 1)
    want = ((z_e - c) ** 2).mean((1, 2))  # one an item, codes not normalised
    torch.testing.assert_close(commitment, want)
    torch.testing.assert_close(codebook, want)
    torch.testing.assert_close(latent, z_e)
    torch.testing.assert_close(vq.decode(codes), z_q, rtol=0, atol=1e-6)
    torch.testing.assert_close(z_q, vq.out_proj(c), rtol=0, atol=1e-6)


def test_vq_gradients(vq: VectorQuantizer, z: Tensor) -> None:
    z.requires_grad_()
    weight = torch.randn(4, D, T)

    def grads(loss: Tensor) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(loss, (z, vq.codebook.weight, vq.in_proj.weight_v), allow_unused=True)

    z_q, _, commitment, codebook, _ = vq(z)
    straight, code, _ = grads((z_q * weight).sum())
    want = torch.autograd.grad((vq.out_proj(vq.in_proj(z)) * weight).sum(), z)[0]  # as if nothing was rounded
    torch.testing.assert_close(straight, want)
    assert code is None
    to_z, code, to_proj = grads(vq(z)[2].sum())
    assert to_z.abs().max() > 0
    assert to_proj.abs().max() > 0
    assert code is None  # commitment moves the encoder only
    to_z, code, to_proj = grads(vq(z)[3].sum())
    assert to_z is None
    assert to_proj is None
    assert code.abs().max() > 0
    assert commitment.shape == codebook.shape == (4,)


def test_margin(vq: VectorQuantizer, z: Tensor) -> None:
    cosine = F.normalize(vq.in_proj(z), dim=1).transpose(1, 2) @ F.normalize(vq.codebook.weight, dim=1).T
    ranked = cosine.sort(-1, descending=True).values
    torch.testing.assert_close(vq.margin(z), ranked[..., 0] - ranked[..., 1], rtol=0, atol=1e-6)


def test_residual_sums(rvq: ResidualVQ, z: Tensor) -> None:
    z_q, codes, commitment, codebook, latents = rvq.eval()(z)
    total, commits, books = torch.zeros_like(z), [], []
    for i, q in enumerate(rvq.quantizers):
        q_i, c_i, commit_i, book_i, z_e = q(z - total)
        assert torch.equal(c_i, codes[:, i])
        torch.testing.assert_close(latents[i], z_e)
        total = total + q_i
        commits.append(commit_i.mean())
        books.append(book_i.mean())
        torch.testing.assert_close(rvq.decode(codes[:, : i + 1]), total, rtol=0, atol=1e-6)
        assert torch.equal(rvq.encode(z, i + 1), codes[:, : i + 1])
    torch.testing.assert_close(z_q, total)
    torch.testing.assert_close(commitment, sum(commits))
    torch.testing.assert_close(codebook, sum(books))
    before = z.clone()
    assert torch.equal(rvq.encode(z), codes)
    assert torch.equal(z, before)  # the official encode overwrites its input


@pytest.mark.parametrize(("dropout", "items"), [(0.5, 5), (0.5, 4), (0.9, 3), (1.0, 2), (0.0, 4)])
def test_quantizer_dropout(dropout: float, items: int) -> None:
    torch.manual_seed(0)
    rvq, z = ResidualVQ(D, 4, 32, 3, dropout).train(), torch.randn(items, D, T)
    codes = rvq.encode(z)
    prefixes = torch.stack([rvq.decode(codes[:, : k + 1]) for k in range(4)])
    commits = torch.stack([q(z - (prefixes[i - 1] if i else 0))[2] for i, q in enumerate(rvq.quantizers)])  # [Q, B]
    dropped, seen = int(items * dropout), [set() for _ in range(items)]
    for _ in range(40):
        z_q, got, commitment, _, _ = rvq(z)
        assert torch.equal(got, codes)  # codes of all levels come out all the same
        distance = (prefixes - z_q).abs().amax((2, 3))  # [Q, B]: each item is some prefix of its levels
        assert distance.amin(0).max() < 1e-5
        levels = distance.argmin(0) + 1
        for s, k in zip(seen, levels.tolist()):
            s.add(k)
        used = torch.arange(4)[:, None] < levels
        torch.testing.assert_close(commitment, (commits * used).mean(1).sum())
    assert all(s == {1, 2, 3, 4} for s in seen[:dropped])
    assert all(s == {4} for s in seen[dropped:])
    torch.testing.assert_close(rvq.eval()(z)[0], prefixes[-1], rtol=0, atol=1e-5)


def test_split_quantizer(z: Tensor) -> None:
    z_a = torch.randn(4, D, T, generator=torch.Generator().manual_seed(7))
    on, off = _split(True).eval(), _split(False).eval()
    for split in (on, off):
        out = split(z, z_a)
        s, s_codes, commit, book, s_latents = split.semantic(z)
        a, a_codes, a_commit, a_book, a_latents = split.acoustic(z_a - s if split is on else z_a)
        torch.testing.assert_close(out.z, s + a)
        torch.testing.assert_close(out.z_semantic, s)
        assert torch.equal(out.codes, torch.cat([s_codes, a_codes], 1))
        torch.testing.assert_close(out.latents, [*s_latents, *a_latents])
        losses = (out.commit_semantic, out.codebook_semantic, out.commit_acoustic, out.codebook_acoustic)
        torch.testing.assert_close(losses, (commit, book, a_commit, a_book))
        torch.testing.assert_close(split.decode(out.codes), out.z, rtol=0, atol=1e-6)
        torch.testing.assert_close(split.decode_semantic(out.codes), s, rtol=0, atol=1e-6)
        for n in range(1, 6):
            assert torch.equal(split.encode(z, z_a, n), out.codes[:, :n])
        assert torch.equal(split.encode(z, z_a), out.codes)
        for n in (1, 2):
            assert torch.equal(split.encode(z, None, n), out.codes[:, :n])  # semantic streams need no acoustic latent
        assert split.margin(z, z_a).shape == out.codes.shape
        assert split.cardinality == [16, 16, 8, 8, 8] == [len(q.codebook.weight) for q in split.streams]
    assert not torch.equal(on(z, z_a).codes[:, 2:], off(z, z_a).codes[:, 2:])


@pytest.mark.parametrize("subtract", [True, False])
def test_gradient_through_the_subtraction(subtract: bool, z: Tensor) -> None:
    """The acoustic loss reaches the semantic encoder through z_ac - s, which is not detached (audio.md C1)."""
    z.requires_grad_()
    split = _split(subtract)
    grad = torch.autograd.grad(split(z, torch.randn(4, D, T)).commit_acoustic, z, allow_unused=True)[0]
    assert (grad is not None and grad.abs().max() > 0) == subtract
