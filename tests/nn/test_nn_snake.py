"""Snake: the formula, its written-out derivative, and the in-place inference path."""

from __future__ import annotations

import pytest
import torch

from audiokd.nn.codec.snake import Snake1d


@pytest.fixture
def snake() -> Snake1d:
    torch.manual_seed(0)
    s = Snake1d(3).double()
    with torch.no_grad():
        s.alpha.copy_(torch.tensor([0.3, 1.0, 2.7])[:, None])
    return s


def test_forward_is_the_formula(snake: Snake1d) -> None:
    x = torch.randn(2, 3, 50, dtype=torch.double)
    want = x + torch.sin(snake.alpha * x) ** 2 / (snake.alpha + 1e-9)
    torch.testing.assert_close(snake(x), want, rtol=0, atol=1e-14)


def test_gradients(snake: Snake1d) -> None:
    x = torch.randn(2, 3, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, a: _with_alpha(snake, x, a), (x, snake.alpha.detach().requires_grad_()))
    snake.alpha.requires_grad_(False)  # a frozen codec still passes gradient on to its input
    assert torch.autograd.gradcheck(snake, (x,))
    snake.alpha.requires_grad_(True)
    snake(x.detach()).sum().backward()
    assert snake.alpha.grad.shape == snake.alpha.shape
    assert snake.alpha.grad.abs().min() > 0


def test_inference_path_is_equal_and_leaves_its_input(snake: Snake1d) -> None:
    x = torch.randn(2, 3, 50, dtype=torch.double)
    want, before = snake(x), x.clone()
    with torch.inference_mode():
        got = snake(x)
    torch.testing.assert_close(got, want.detach(), rtol=0, atol=1e-15)
    assert torch.equal(x, before)
    assert not got.requires_grad


def _with_alpha(snake: Snake1d, x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    return torch.func.functional_call(snake, {"alpha": alpha}, (x,))
