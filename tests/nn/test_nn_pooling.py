"""Frames of one rate on another's grid."""

from __future__ import annotations

import pytest
import torch

from audiokd.nn.pooling import pool_frames


def test_whole_ratios_are_plain_means() -> None:
    x = torch.randn(2, 8, 3)
    pooled, n = pool_frames(x, torch.tensor([8, 8]), 50, 12.5)
    torch.testing.assert_close(pooled, x.view(2, 2, 4, 3).mean(2))
    assert n.tolist() == [2, 2]
    repeated, n = pool_frames(x, torch.tensor([8, 8]), 50, 100)
    torch.testing.assert_close(repeated, x.repeat_interleave(2, 1))
    assert n.tolist() == [16, 16]


@pytest.mark.parametrize("new_rate", [6.25, 12.5, 18.75, 25, 31.0, 50, 75])
def test_same_alone_and_in_a_batch(new_rate: float) -> None:
    torch.manual_seed(0)
    x, lengths = torch.randn(3, 23, 4), torch.tensor([23, 9, 1])
    pooled, n = pool_frames(x, lengths, 50, new_rate)
    assert pooled.shape[1] == int(n.max())
    for i, k in enumerate(lengths):
        alone, m = pool_frames(x[i : i + 1, :k], lengths[i : i + 1], 50, new_rate)
        assert m[0] == n[i]
        torch.testing.assert_close(alone[0], pooled[i, : m[0]])
        assert not pooled[i, m[0] :].any()


def test_overlap_weighs() -> None:
    pooled, n = pool_frames(torch.tensor([[[0.0], [1.0], [2.0]]]), torch.tensor([3]), 3, 2)  # 1.5 frames a new one
    torch.testing.assert_close(pooled.flatten(), torch.tensor([(0 + 0.5) / 1.5, (0.5 + 2) / 1.5]))
    assert n.tolist() == [2]
