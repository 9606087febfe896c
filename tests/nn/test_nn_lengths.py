"""Length arithmetic and masks agree with what torch's own convolutions give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audiokd.nn.lengths import conv_length, conv_transpose_length, fit_length, length_mask, stack_padded, zero_beyond


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(7, 1, 3, 1), (7, 1, 27, 9), (8, 4, 2, 1), (10, 5, 3, 1), (3, 2, 0, 2)],
)
def test_conv_length(kernel: int, stride: int, padding: int, dilation: int) -> None:
    conv = nn.Conv1d(1, 1, kernel, stride, padding, dilation)
    fits = [n for n in range(1, 60) if n + 2 * padding > dilation * (kernel - 1)]  # torch refuses shorter ones
    want = [conv(torch.zeros(1, 1, n)).shape[-1] for n in fits]
    assert [conv_length(n, kernel, stride, padding, dilation) for n in fits] == want
    assert conv_length(torch.tensor(fits), kernel, stride, padding, dilation).tolist() == want


def test_conv_length_is_never_negative() -> None:
    assert conv_length(1, 9) == 0
    assert conv_length(torch.tensor([0, 1, 9]), 9).tolist() == [0, 0, 1]


@pytest.mark.parametrize("stride", [2, 4, 5, 6, 8])
def test_conv_transpose_length(stride: int) -> None:
    kernel, padding = 2 * stride, -(-stride // 2)
    conv = nn.ConvTranspose1d(1, 1, kernel, stride, padding)
    sizes = list(range(1, 12))
    want = [conv(torch.zeros(1, 1, n)).shape[-1] for n in sizes]
    assert [conv_transpose_length(n, kernel, stride, padding) for n in sizes] == want
    assert conv_transpose_length(torch.tensor([0, *sizes]), kernel, stride, padding).tolist() == [0, *want]
    assert conv_transpose_length(0, kernel, stride, padding) == 0


def test_zero_beyond() -> None:
    x, lengths = torch.ones(3, 2, 4), torch.tensor([0, 3, 4])
    assert length_mask(lengths, 4).int().tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert zero_beyond(x, lengths).sum((1, 2)).tolist() == [0, 6, 8]
    assert zero_beyond(x, None) is x
    x[1, :, 3] = float("nan")  # a NaN in the padding must not survive, as it would in a product with a mask
    assert zero_beyond(x, lengths).isfinite().all()


def test_fit_length_and_stack_padded() -> None:
    x = torch.arange(1.0, 7).reshape(2, 3)
    assert fit_length(x, 2).tolist() == [[1, 2], [4, 5]]
    assert fit_length(x, 4).tolist() == [[1, 2, 3, 0], [4, 5, 6, 0]]
    assert stack_padded([x[0], x[1, :1]]).tolist() == [[1, 2, 3], [4, 0, 0]]
