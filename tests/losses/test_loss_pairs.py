"""Losses of the methods that learn from pair models, against written-out numbers; who gets a gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from audiokd.losses.embedding_cosine import embedding_cosine
from audiokd.losses.logit_kl import logit_kl
from audiokd.losses.prompt_consistency import prompt_consistency
from audiokd.losses.pseudo_labels import confident_labels, pseudo_label_loss


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, generator=g), 3 * torch.randn(3, 5, generator=g)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_written_out(pair: tuple[torch.Tensor, torch.Tensor], temperature: float) -> None:
    s, t = (x.double() for x in pair)
    expected = 0.0
    for a, b in zip(s / temperature, t / temperature):
        q, p = a.exp() / a.exp().sum(), b.exp() / b.exp().sum()
        expected += float((p * (p / q).log()).sum()) * temperature**2
    by_row, by_element = (logit_kl(*pair, temperature, r) for r in ("batchmean", "numel"))
    assert float(by_row) == pytest.approx(expected / 3, rel=1e-5)
    assert float(by_row / by_element) == pytest.approx(5, rel=1e-6)  # the classes
    assert float(logit_kl(pair[0], pair[0], temperature)) == pytest.approx(0, abs=1e-6)


def test_kl_reaches_the_student_alone(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    s, t = (x.clone().requires_grad_() for x in pair)
    logit_kl(s, t).backward()
    assert s.grad is not None
    torch.testing.assert_close(s.grad, (s.softmax(-1) - t.softmax(-1)).detach() / 3, atol=1e-6, rtol=1e-4)
    assert t.grad is None
    for bad, said in (((s, t[:, :4]), r"\[3, 4\] of the teacher"), ((s, t, 1.0, "mean"), "neither batchmean")):
        with pytest.raises(ValueError, match=said):
            logit_kl(*bad)
    with torch.autocast("cpu", torch.bfloat16):
        assert logit_kl(s, t).dtype == torch.float32


def test_prompt_consistency(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, frozen = pair
    f, ff = F.normalize(torch.randn(3, 4), dim=-1).requires_grad_(), F.normalize(torch.randn(3, 4), dim=-1)
    g, gg = F.normalize(torch.randn(5, 4), dim=-1), F.normalize(torch.randn(5, 4), dim=-1).requires_grad_()
    labels = torch.tensor([0, 3, 4])
    found = prompt_consistency(logits, labels, f, g, ff, gg, frozen)
    assert found["image"].item() == pytest.approx((f - ff).abs().sum().item() / 12, rel=1e-5)
    assert found["text"].item() == pytest.approx((g - gg).abs().sum().item() / 20, rel=1e-5)
    assert found["ce"].item() == pytest.approx(-logits.log_softmax(-1)[[0, 1, 2], labels].mean().item(), rel=1e-5)
    assert torch.equal(found["logits"], logit_kl(logits, frozen, reduction="numel"))
    sum(found.values()).backward()
    assert f.grad is not None
    assert gg.grad is None  # the frozen side
    same = prompt_consistency(logits, labels, ff, g, ff, g, logits)
    assert [float(same[k]) for k in ("text", "image")] == [0, 0]
    assert float(same["logits"]) == pytest.approx(0, abs=1e-7)


def test_embedding_cosine() -> None:
    z = torch.tensor([[3.0, 0.0], [0.0, 2.0]], requires_grad=True)
    images = torch.tensor([[1.0, 0.0], [1.0, 1.0]], requires_grad=True)
    texts = torch.tensor([[0.0, 5.0], [0.0, 1.0]])
    expected = -((0.25 * 1 + 0.75 * 0) + (0.25 * math.sqrt(0.5) + 0.75 * 1)) / 2
    loss = embedding_cosine(z, images, texts, share=0.25)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert z.grad is not None
    assert bool(z.grad.any())
    assert images.grad is None
    assert float(embedding_cosine(texts, texts, texts)) == pytest.approx(-1)


def test_pseudo_labels() -> None:
    teacher = torch.tensor([[4.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.0, 2.0]], requires_grad=True)
    labels, kept = confident_labels(teacher, 0.5)
    assert labels.tolist() == [0, 0, 2]
    assert kept.tolist() == [True, False, True]
    student = torch.randn(3, 3, requires_grad=True)
    loss = pseudo_label_loss(student, labels, kept)
    logs = student.detach().log_softmax(-1)
    assert float(loss) == pytest.approx(-(logs[0, 0] + logs[2, 2]).item() / 3, rel=1e-5)  # over all three
    loss.backward()
    assert student.grad is not None
    assert [bool(g.any()) for g in student.grad] == [True, False, True]
    assert not pseudo_label_loss(student, labels, torch.zeros(3, dtype=torch.bool)).isnan()
    assert float(pseudo_label_loss(student, labels)) == pytest.approx(float(F.cross_entropy(student, labels)))
