"""Losses of masks against written-out numbers, and the divergence of one mask from another."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from audiokd.losses.bernoulli_kl import bernoulli_kl
from audiokd.losses.mask_loss import MaskLoss, mask_loss


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and masks [2, 3, 4]."""
    g = torch.Generator().manual_seed(0)
    return 2 * torch.randn(2, 3, 4, generator=g), (torch.rand(2, 3, 4, generator=g) < 0.4).float()


def written_out(name: str, logits: torch.Tensor, masks: torch.Tensor) -> float:
    pixels = [(1 / (1 + math.exp(-x)), y) for x, y in zip(logits.double().flatten().tolist(), masks.flatten().tolist())]
    tp, fp, fn = (
        sum(f(p, y) for p, y in pixels)
        for f in (lambda p, y: p * y, lambda p, y: p * (1 - y), lambda p, y: (1 - p) * y)
    )
    true = [p if y else 1 - p for p, y in pixels]
    if name == "lovasz":  # the hinge errors, weighted by what each adds to 1 - IoU
        rows = sorted(((1 - x * (2 * y - 1), y) for x, y in zip(logits.flatten().tolist(), masks.flatten().tolist())))
        total, before, found = sum(y for _, y in pixels), 0.0, 0.0
        wrong_yes = wrong_no = 0.0
        for error, y in reversed(rows):
            wrong_yes, wrong_no = wrong_yes + y, wrong_no + 1 - y
            jaccard = 1 - (total - wrong_yes) / (total + wrong_no)
            found += max(error, 0.0) * (jaccard - before)
            before = jaccard
        return found
    return {
        "bce": -sum(math.log(p) for p in true) / len(true),
        "dice": 1 - 2 * tp / (2 * tp + fp + fn),
        "jaccard": 1 - tp / (tp + fp + fn),
        "focal": -sum((1 - p) ** 2 * math.log(p) for p in true) / len(true),
        "tversky": 1 - tp / (tp + 0.3 * fp + 0.7 * fn),
    }[name]


@pytest.mark.parametrize("name", get_args(MaskLoss))
def test_written_out(name: MaskLoss, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, masks = batch
    expected = sum(written_out(part, logits, masks) for part in name.split("_"))
    leaf = logits.clone().requires_grad_()
    found = mask_loss(name)(leaf, masks)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    found.backward()
    assert torch.isfinite(leaf.grad).all()
    assert bool((leaf.grad[masks == 1] <= 0).all())  # a step makes the mask likelier, and what is outside it less so
    assert bool((leaf.grad[masks == 0] >= 0).all())


@pytest.mark.parametrize("name", get_args(MaskLoss))
def test_masks_without_the_class(name: MaskLoss) -> None:
    """No number that is none, and whoever says no is not worse off."""
    masks = torch.zeros(1, 4, 4)
    no, yes = (float(mask_loss(name)(torch.full((1, 4, 4), x), masks)) for x in (-20.0, 20.0))
    assert math.isfinite(no)
    assert no <= yes
    assert no == pytest.approx(0, abs=1e-6)


def test_what_is_refused(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="no loss 'dise' of masks: bce, dice"):
        mask_loss("dise")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"logits \[2, 3, 4\], masks \[2, 3, 3\]"):
        mask_loss("bce")(batch[0], batch[1][..., :3])
    with torch.autocast("cpu", torch.bfloat16):
        assert mask_loss("bce_dice")(batch[0].bfloat16(), batch[1]).dtype == torch.float32


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_written_out(batch: tuple[torch.Tensor, torch.Tensor], temperature: float) -> None:
    student, teacher = batch[0], batch[0].flip(-1) + 1
    expected = 0.0
    for s, t in zip(student.double().flatten().tolist(), teacher.double().flatten().tolist()):
        q, p = (1 / (1 + math.exp(-x / temperature)) for x in (s, t))
        expected += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    found = bernoulli_kl(student, teacher, temperature)
    assert float(found) == pytest.approx(temperature**2 * expected / student.numel(), rel=1e-5)


def test_kl_of_itself_is_nothing() -> None:
    """To the bit, even where probabilities round to 0 and 1."""
    logits = torch.tensor([[[-200.0, -3.0, 0.0, 3.0, 200.0]]])
    assert float(bernoulli_kl(logits, logits, 2.0)) == 0.0
    assert math.isfinite(float(bernoulli_kl(logits, -logits)))


def test_kl_reaches_the_student_alone(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    student, teacher = (x.clone().requires_grad_() for x in (batch[0], batch[0] + 1))
    bernoulli_kl(student, teacher, 2.0).backward()
    assert teacher.grad is None
    slope = 2 * ((student / 2).sigmoid() - (teacher / 2).sigmoid()).detach() / student.numel()
    torch.testing.assert_close(student.grad, slope, atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match=r"logits \[2, 3, 4\] of the student"):
        bernoulli_kl(student, teacher[:1])
