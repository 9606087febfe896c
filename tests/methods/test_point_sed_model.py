"""The point-to-interval teacher: one interval a point, in order; no batch, padding or neighbour in it; moved with its sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from audiokd.data.audio import load_at
from audiokd.data.inputs import open_input
from audiokd.errors import AudioError, ConfigError
from audiokd.methods.point_sed.attention import IntervalReader
from audiokd.methods.point_sed.config import PointSedConfig
from audiokd.methods.point_sed.model import PointSedModel

TINY = {"widths": (16, 24), "dim": 16, "heads": 2, "samples": 2, "roi_side": 5, "decoder_layers": 2, "ffn": 32}
RATE = 16_000


def tiny(**more: object) -> PointSedModel:
    """A teacher of random weights, whose heads say something."""
    torch.manual_seed(0)
    model = PointSedModel(PointSedConfig(["a", "b"], [0.5, 1.2], **{**TINY, **more})).eval()
    for p in model.parameters():
        if not p.detach().any():
            torch.nn.init.normal_(p, std=0.1)
    return model


@pytest.fixture(scope="module")
def wav(beckett: Path) -> Tensor:
    """Six seconds of reading."""
    return torch.from_numpy(load_at(open_input(beckett).utterances()[0], RATE)[: 6 * RATE].copy())


def said(model: PointSedModel, wavs: list[Tensor], rows: list[list[tuple[float, int]]]) -> Tensor:
    """Codes of the last layer of points by clip."""
    flat = [(t, k, i) for i, row in enumerate(rows) for t, k in row]
    lengths = torch.tensor([len(w) for w in wavs])
    batch = torch.full((len(wavs), int(lengths.max())), 0.7)  # what stands in padding is of no account
    for x, w in zip(batch, wavs):
        x[: len(w)] = w
    with torch.no_grad():
        told = (torch.tensor(of) for of in zip(*flat))
        return model(batch, lengths, *told)[-1]


ROWS = [(1.0, 0), (3.1, 1), (4.5, 0)]


def test_query_i_gives_interval_i(wav: Tensor) -> None:
    model = tiny()
    found = said(model, [wav], [ROWS])
    assert len(found) == 3
    assert (found[0] - found[2]).abs().max() > 1e-3  # they do differ
    for order in ([2, 0, 1], [1], [0, 2]):
        alone = said(model, [wav], [[ROWS[k] for k in order]])
        torch.testing.assert_close(alone, found[order], atol=1e-5, rtol=0)
    one = model.predict(wav.numpy(), ROWS)
    assert one.shape == (3, 2)
    assert (one[:, 1] > one[:, 0]).all()
    assert model.predict(wav.numpy(), []).shape == (0, 2)


def test_a_query_learns_its_own(wav: Tensor) -> None:
    """The gradient of interval i reaches the class of point i alone."""
    model = tiny()
    told = (torch.tensor([1.0, 3.1]), torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long))
    for k in range(2):
        model.zero_grad()
        model(wav[None], None, *told)[-1][k].sum().backward()
        assert model.classes.weight.grad is not None
        assert model.classes.weight.grad[k].abs().max() > 0
        assert model.classes.weight.grad[1 - k].abs().max() == 0


def test_batch_and_padding_change_nothing(wav: Tensor) -> None:
    model = tiny()
    clips = [wav[: 2 * RATE], wav, wav[RATE : RATE + 50_123]]
    rows = [[(0.5, 1), (1.9, 0)], ROWS, [(3.0, 1)]]
    together = said(model, clips, rows)
    alone = torch.cat([said(model, [c], [r]) for c, r in zip(clips, rows)])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)
    bare = said(model, [clips[1], clips[0], clips[2]], [rows[1], [], rows[2]])  # one without a point
    torch.testing.assert_close(bare, torch.cat([alone[2:5], alone[5:]]), atol=2e-5, rtol=0)


def test_a_moved_sound_gets_the_moved_interval(wav: Tensor) -> None:
    """By whole frames of all stages exactly, by less than one within a frame, where the query is not told the time."""
    model = tiny(told_time=False, samples=1, roi_span=1.0)
    sound = torch.zeros(10 * RATE)
    sound[3 * RATE : 6 * RATE] = wav[: 3 * RATE]
    points = [(4.2, 0), (5.0, 1)]

    def intervals(shift: int) -> Tensor:
        at = [(t + shift / RATE, k) for t, k in points]
        code = said(model, [sound.roll(shift)], [at])
        return model.intervals_of(code, torch.tensor([t for t, _ in at]), torch.tensor([0, 1])) - shift / RATE

    still = intervals(0)
    hop = round(model.stages.hops_s[-1] * RATE)
    for frames in (1, -7, 13):
        torch.testing.assert_close(intervals(frames * hop), still, atol=1e-4, rtol=0)
    for samples in (hop // 2, -hop // 3, 77):
        assert (intervals(samples) - still).abs().max() < hop / RATE
    told = tiny(told_time=True)
    a = said(told, [sound], [points])
    b = said(told, [sound.roll(13 * hop)], [[(t + 13 * hop / RATE, k) for t, k in points]])
    assert (a - b).abs().max() > 1e-3


def test_frames_lie_where_their_sound_does() -> None:
    """A reader that looks at one place finds the frame of that time, at each rate."""
    torch.manual_seed(0)
    config = PointSedConfig(["a"], [1.0], **{**TINY, "samples": 1, "roi_side": 0, "dim": 4, "heads": 1, "dropout": 0.0})
    reader = IntervalReader(config, [0.02, 0.04])
    torch.nn.init.zeros_(reader.offsets.bias)
    for layer in (reader.value, reader.fuse):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    for level, hop in enumerate((0.02, 0.04)):
        maps = [torch.zeros(1, 4, 100), torch.zeros(1, 4, 50)]
        maps[level][0, :, 30] = 1
        values = reader.values(maps, [torch.ones(1, m.shape[-1], dtype=torch.bool) for m in maps])
        for time, share in ((30 * hop, 0.5), (30.5 * hop, 0.25), (31 * hop, 0.0)):
            zero = torch.zeros(1, 1, 4)
            read = reader(zero, zero, torch.tensor([[time]]), torch.tensor([[[0.0, 1.0]]]), values)
            torch.testing.assert_close(read, torch.full((1, 1, 4), share))


def test_it_begins_at_the_mean_length(wav: Tensor) -> None:
    torch.manual_seed(0)
    model = PointSedModel(PointSedConfig(["a", "b"], [0.5, 1.2], **TINY)).eval()
    found = model.predict(wav.numpy(), ROWS)
    assert np.allclose(found, [[0.75, 1.25], [2.5, 3.7], [4.25, 4.75]])


def test_what_cannot_be_asked(wav: Tensor) -> None:
    model = tiny()
    with pytest.raises(AudioError, match="outside of the clip"):
        model.predict(wav.numpy(), [(6.5, 0)])
    with pytest.raises(AudioError, match="none of 2"):
        model.predict(wav.numpy(), [(1.0, 2)])
    with pytest.raises(AudioError, match="100 samples"):
        model.predict(wav[:100].numpy(), [])
    wrong: list[dict[str, object]] = [
        {"mean_s": [0.5]}, {"mean_s": [0.5, 0.0]}, {"mean_s": [0.5, float("nan")]}, {"heads": 3}, {"heads": 0}, {"dim": 18},
        {"decoder_layers": 0}, {"widths": ()}, {"roi_side": -1}, {"roi_side": 1}, {"samples": 0, "roi_side": 0},
        {"roi_span": 0.0}, {"clip_s": 0.0},
    ]  # fmt: skip
    for bad in wrong:
        with pytest.raises(ConfigError):
            PointSedModel(PointSedConfig(**{"labels": ["a", "b"], "mean_s": [0.5, 1.0], **TINY, **bad}))
