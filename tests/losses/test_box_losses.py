"""Losses of boxes by their equations, and that what is counted is what their docstrings say."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from audiokd.losses.box_l1 import box_l1
from audiokd.losses.point_guided import point_guided
from audiokd.losses.sigmoid_focal import sigmoid_focal


def test_box_l1() -> None:
    a, b = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [1.0, -1.0]])
    assert float(box_l1(a, b)) == (1 + 2 + 1 + 1) / 2
    assert float(box_l1(a[:0], b[:0])) == 0


def test_sigmoid_focal_by_its_equation() -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=g, dtype=torch.float64).requires_grad_()
    y = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]])
    p = logits.sigmoid()
    p_t, alpha = torch.where(y == 1, p, 1 - p), torch.where(y == 1, 0.25, 0.75)
    torch.testing.assert_close(sigmoid_focal(logits, y), (-alpha * (1 - p_t) ** 2 * p_t.log()).sum() / 5)
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal(x, y), (logits,))
    assert float(sigmoid_focal(logits[:0], y[:0]).detach()) == 0


def test_point_guided() -> None:
    g = torch.Generator().manual_seed(0)
    mine = torch.randn(2, 4, 3, 5, generator=g, dtype=torch.float64).requires_grad_()
    theirs = torch.randn(2, 4, 3, 5, generator=g, dtype=torch.float64).requires_grad_()
    where = torch.rand(2, 3, 5, generator=g, dtype=torch.float64)
    loss = point_guided(mine, theirs, where, 3)
    # |a - b|^2 of unit vectors is 2 - 2 cos
    want = (where * (2 - 2 * F.cosine_similarity(mine, theirs, 1))).sum() / 3
    torch.testing.assert_close(loss, want)
    loss.backward()
    assert theirs.grad is None
    assert float(mine.grad.abs().sum()) > 0
    # a length is nothing to it, and neither is what lies where no object is
    where[0] = 0
    other = torch.cat([torch.randn_like(mine[:1]), 7 * mine[1:]])
    torch.testing.assert_close(point_guided(other, theirs, where, 3), point_guided(mine, theirs, where, 3))
    assert float(point_guided(mine, mine, where, 3)) == 0
    # a cell that says nothing: a gradient that is a number
    silent = torch.zeros(1, 4, 2, 2, requires_grad=True)
    point_guided(silent, torch.randn(1, 4, 2, 2), torch.ones(1, 2, 2), 0).backward()
    assert float(silent.grad.abs().max()) < 1e3
