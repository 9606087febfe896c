"""Frames, clips and the agreement with the mean teacher, each over what counts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.losses.event_detection import clip_loss, consistency_loss, frame_loss
from audiokd.nn.lengths import length_mask
from audiokd.training.schedules import exponential_ramp


def test_frames_that_count() -> None:
    logits, labels = torch.randn(3, 5, 2, requires_grad=True), torch.rand(3, 5, 2)
    counted = length_mask(torch.tensor([5, 2, 0]), 5)
    rows = torch.cat([logits[0], logits[1, :2]]), torch.cat([labels[0], labels[1, :2]])
    loss = frame_loss(logits, labels, counted)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(*rows))
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[~counted].any()
    assert frame_loss(logits, labels, torch.zeros_like(counted)) == 0  # none of this kind in the batch
    with pytest.raises(AudiokdError, match=r"labels of frames \[3, 4, 2\], logits \[3, 5, 2\]"):
        frame_loss(logits, labels[:, :4], counted)


def test_clips_that_count() -> None:
    logits, labels, weak = torch.randn(4, 3), torch.rand(4, 3), torch.tensor([False, True, True, False])
    torch.testing.assert_close(
        clip_loss(logits, labels, weak), F.binary_cross_entropy_with_logits(logits[1:3], labels[1:3])
    )


def test_agreement_with_the_mean() -> None:
    events, mean_events = torch.randn(2, 4, 3, requires_grad=True), torch.randn(2, 4, 3, requires_grad=True)
    clips, mean_clips = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    counted = length_mask(torch.tensor([4, 1]), 4)
    loss = consistency_loss(events, clips, mean_events, mean_clips, counted)
    frames = F.mse_loss(events[counted].sigmoid(), mean_events[counted].sigmoid())
    torch.testing.assert_close(loss, frames + F.mse_loss(clips.sigmoid(), mean_clips.sigmoid()))
    loss.backward()
    assert mean_events.grad is None
    assert mean_clips.grad is None
    assert clips.grad is not None


def test_its_weight_rises_as_the_baseline_has_it() -> None:
    found = [exponential_ramp(s, peak=2.0, ramp_steps=100) for s in (0, 49, 99, 500)]
    assert found == pytest.approx([2 * 2.718281828 ** (-5 * 0.99**2), 2 * 2.718281828**-1.25, 2.0, 2.0])
