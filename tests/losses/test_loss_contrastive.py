"""InfoNCE both ways, written out; what is no negative; precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from audiokd.losses.contrastive import contrastive_loss


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(4, 6, generator=g), dim=-1), F.normalize(torch.randn(4, 6, generator=g), dim=-1)


@pytest.mark.parametrize("groups", [[0, 1, 2, 3], [5, 1, 5, 5], [1, 0, 0, 1]])
def test_written_out(pairs: tuple[torch.Tensor, torch.Tensor], groups: list[int]) -> None:
    z, t = (x.double() for x in pairs)
    expected = 0.0
    for b in range(4):
        kept = [k for k in range(4) if k == b or groups[k] != groups[b]]
        own = math.exp(7.0 * float(z[b] @ t[b]))
        expected -= math.log(own / sum(math.exp(7.0 * float(z[b] @ t[k])) for k in kept))
        expected -= math.log(own / sum(math.exp(7.0 * float(z[k] @ t[b])) for k in kept))
    found = contrastive_loss(*pairs, 7.0, torch.tensor(groups))
    assert float(found) == pytest.approx(expected / 8, rel=1e-5)


def test_one_caption_teaches_nothing_and_breaks_nothing(pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
    z, t = (x.clone().requires_grad_() for x in pairs)
    loss = contrastive_loss(z, t, 7.0, torch.zeros(4, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0
    assert z.grad is not None
    assert not bool(z.grad.any())


def test_both_sides_and_the_scale_learn_in_float32(pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
    z, t = (x.clone().requires_grad_() for x in pairs)
    scale = torch.tensor(7.0, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(z, t, scale, torch.arange(4))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, contrastive_loss(*pairs, 7.0, torch.arange(4)))
    loss.backward()
    assert all(x.grad is not None and bool(x.grad.any()) for x in (z, t, scale))
    with_mates = contrastive_loss(*pairs, 7.0, torch.arange(4))
    torch.testing.assert_close(with_mates, contrastive_loss(pairs[1], pairs[0], 7.0, torch.arange(4)))
