"""Feature matching to a teacher: pooled (DualCodec, Mimi) and along time (SpeechTokenizer)."""

from __future__ import annotations

import pytest
import torch

from audiokd.losses.pooled_features import pooled_feature_loss
from audiokd.losses.time_axis_cosine import time_axis_cosine_loss


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(3, 7, 5, requires_grad=True), torch.randn(3, 7, 5, requires_grad=True)


def test_pooled_mse_and_cosine_by_hand() -> None:
    predicted, target = _pair()
    torch.testing.assert_close(pooled_feature_loss(predicted, target), (predicted - target).square().mean())
    cosine = (predicted * target).sum(-1) / (predicted.norm(dim=-1) * target.norm(dim=-1))
    torch.testing.assert_close(pooled_feature_loss(predicted, target, kind="cosine"), (1 - cosine).mean())


def test_time_axis_by_hand() -> None:
    predicted, target = _pair()
    cosine = (predicted * target).sum(1) / (predicted.norm(dim=1) * target.norm(dim=1))  # [B, D]: over time
    torch.testing.assert_close(time_axis_cosine_loss(predicted, target), -torch.log(torch.sigmoid(cosine)).mean())
    # a channel that follows its teacher's course is right whatever its scale
    best = time_axis_cosine_loss(3.0 * target, target)
    torch.testing.assert_close(best, -torch.nn.functional.logsigmoid(torch.ones(())))


@pytest.mark.parametrize("loss", [pooled_feature_loss, time_axis_cosine_loss])
def test_padding_counts_nothing_and_teachers_get_no_gradient(loss) -> None:
    predicted, target = _pair()
    lengths = torch.tensor([7, 2, 4])
    value = loss(predicted, target, lengths)
    changed = predicted.detach().clone()
    for i, n in enumerate(lengths):
        changed[i, n:] += 10
    torch.testing.assert_close(loss(changed, target, lengths), value)
    value.backward()
    assert target.grad is None
    for g, n in zip(predicted.grad, lengths):
        assert g[:n].abs().min() > 0
        assert not g[n:].any()
    if loss is time_axis_cosine_loss:  # every item weighs the same, whatever its length
        alone = [loss(predicted[i : i + 1, :n], target[i : i + 1, :n]) for i, n in enumerate(lengths)]
        torch.testing.assert_close(value, torch.stack(alone).mean())
