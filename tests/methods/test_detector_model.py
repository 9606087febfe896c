"""The head of a detector, and that its frames are a clip's own: alone, in a batch, and in recordings of any length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiokd.data.audio import load_at
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.detector.config import DetectorConfig
from audiokd.methods.detector.model import DetectorHead, DetectorModel
from audiokd.nn.lengths import stack_padded

TINY = {"dim": 32, "depth": 2, "heads": 2}


@pytest.fixture(scope="module")
def clips(two_cities: Path, beckett: Path) -> list[Tensor]:
    """Of 23, 1.5 and 10.5 s: what needs three chunks, one, and two, the second of half a second."""
    read = [torch.from_numpy(load_at(open_input(p).utterances()[0], 16_000)) for p in (two_cities, beckett)]
    return [read[0][: 23 * 16_000], read[1][:24_000], read[0][5000 : 5000 + 168_000]]


def detector(kind: str, chunks: str = "weighted") -> DetectorModel:
    torch.manual_seed(0)
    encoder = ATSTConfig(kind=kind, chunks=chunks, **TINY).to_dict()
    model = DetectorModel(DetectorConfig(encoder, ["cat", "dog", "rain"])).eval()
    torch.nn.init.normal_(model.head.attention.weight)  # as far from uniform as a trained one
    torch.nn.init.normal_(model.head.events.weight)
    return model


def test_the_official_pooling() -> None:
    torch.manual_seed(0)
    head, x = DetectorHead(8, 5), torch.randn(3, 7, 8) * 3
    frames = torch.tensor([7, 4, 1])
    events, clips = head(x, frames)
    for i, n in enumerate(frames.tolist()):
        strong = head.events(x[i, :n]).sigmoid()
        soft = head.attention(x[i, :n]).softmax(-1).clamp(min=1e-7, max=1)
        torch.testing.assert_close(clips[i].sigmoid(), (strong * soft).sum(0) / soft.sum(0))
        torch.testing.assert_close(events[i, :n].sigmoid(), strong)
        assert not events[i, n:].any()
    clips.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_sure_predictions_keep_their_gradient() -> None:
    head = DetectorHead(1, 1)
    torch.nn.init.constant_(head.events.weight, 60.0)  # sigmoid is 1 in float32
    _, clips = head(torch.ones(1, 4, 1), torch.tensor([4]))
    assert 55 < clips.item() < 65
    torch.nn.functional.binary_cross_entropy_with_logits(clips, torch.zeros(1, 1)).backward()
    assert head.events.weight.grad is not None
    assert head.events.weight.grad.item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("kind", ["frame", "clip"])
@pytest.mark.parametrize("layer", ["events", "logits"])
def test_alone_and_in_a_batch(clips: list[Tensor], kind: str, layer: str) -> None:
    model = detector(kind)
    with torch.inference_mode():
        batch, frames = model.extract(stack_padded(clips), torch.tensor([len(c) for c in clips]), layer)
        assert frames.tolist() == ([575, 37, 262] if layer == "events" else [1, 1, 1])
        for row, n, clip in zip(batch, frames.tolist(), clips):
            alone, m = model.extract(clip[None], None, layer)
            assert m.tolist() == [n]
            torch.testing.assert_close(row[:n], alone[0], atol=2e-5, rtol=1e-4)
            assert not row[n:].any()


@pytest.mark.parametrize("chunks", ["weighted", "official_half"])
def test_its_frames_are_the_encoders(clips: list[Tensor], chunks: str) -> None:
    """The encoder's own cut of long recordings, official or not."""
    model = detector("frame", chunks)
    with torch.inference_mode():
        frames, n = model.extract(clips[0][None], None, "frames")
        events, m = model.extract(clips[0][None], None, "events")
        assert n.tolist() == m.tolist()
        torch.testing.assert_close(events, model.head.events(frames))


def test_a_config_that_says_nothing() -> None:
    nothing = DetectorConfig(ATSTConfig(**TINY).to_dict(), [])
    with pytest.raises(AudiokdError, match="needs labels and an encoder"):
        DetectorModel(nothing)
