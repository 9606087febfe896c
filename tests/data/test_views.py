"""ATST's views: the same numbers as the official transforms clip by clip, and the official generator's mask statistics."""

from __future__ import annotations

from math import comb
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.data.views.frame_mask import draw_mask
from audiokd.data.views.frequency_warp import FREQUENCY_WARP
from audiokd.data.views.log_mixup import MixupMemory, log_mixup_exp
from audiokd.data.views.resize_crop import RandomResizeCrop
from audiokd.frontends.atst_mel import ATSTLogMel


@pytest.fixture(scope="module")
def mel(two_cities: Path) -> Tensor:
    x, _ = sf.read(two_cities, dtype="float32", frames=12 * 48_000)
    return ATSTLogMel()(torch.from_numpy(x[::3].copy()).view(6, -1))[0]  # 6 clips of 2 s


def official_crop(mel: Tensor, box: list[int], canvas: tuple[float, float]) -> Tensor:
    """One clip [F, T] put on its canvas, cut and resized by torch."""
    bands, frames = mel.shape
    area = torch.zeros(int(bands * canvas[0]), int(frames * canvas[1]))
    y, x = (area.shape[0] - bands) // 2, (area.shape[1] - frames) // 2
    area[y : y + bands, x : x + frames] = mel
    top, height, left, width = box
    cut = area[top : top + height, left : left + width]
    return F.interpolate(cut[None, None], size=mel.shape, mode="bicubic", align_corners=True)[0, 0]


@pytest.mark.parametrize("transform", [RandomResizeCrop(), FREQUENCY_WARP], ids=["crop", "warp"])
def test_clips_of_unlike_length_are_resized_each_in_its_own(mel: Tensor, transform: RandomResizeCrop) -> None:
    """Whatever stands behind the shorter ones; a frame alone, too."""
    rng, sizes = np.random.default_rng(1), [mel.shape[2], 200, 57, 1]
    few = mel[:4].clone()
    for _ in range(10):
        boxes = [transform.draw(rng, mel.shape[1], n) for n in sizes]
        out = transform(few, torch.tensor(boxes), torch.tensor(sizes))
        for ours, clip, box, n in zip(out, few, boxes, sizes):
            alone = official_crop(clip[:, :n], list(box), transform.canvas)
            torch.testing.assert_close(ours[:, :n], alone, atol=2e-5, rtol=0)
            if transform is not FREQUENCY_WARP:
                assert not ours[:, n:].any()


@pytest.mark.parametrize("transform", [RandomResizeCrop(), FREQUENCY_WARP], ids=["crop", "warp"])
def test_resize_crop_equals_torch_clip_by_clip(mel: Tensor, transform: RandomResizeCrop) -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        boxes = torch.tensor([transform.draw(rng, *mel.shape[1:]) for _ in mel])
        together = transform(mel, boxes)
        for clip, box, ours in zip(mel, boxes.tolist(), together):
            torch.testing.assert_close(ours, official_crop(clip, box, transform.canvas), atol=2e-5, rtol=0)


def test_boxes_are_the_official_draws() -> None:
    """int(U(0.6, 1.5) 64) cut to 64: 56 % of the frequency warps change nothing; crops may be longer than the clip."""
    rng = np.random.default_rng(1)
    warps = np.array([FREQUENCY_WARP.draw(rng, 64, 1001) for _ in range(4000)])
    assert abs((warps[:, 1] == 64).mean() - 0.5 / 0.9) < 0.025
    assert warps[:, 1].min() == 38
    assert (warps[:, 2:] == [0, 1001]).all()
    crops = np.array([RandomResizeCrop().draw(rng, 64, 601) for _ in range(4000)])
    assert crops[:, 3].max() == 901  # int(1.5 x 601), cut to its canvas
    assert (crops[:, 2] + crops[:, 3]).max() == 901
    assert crops[:, 3].min() == 360


def test_log_mixup_exp(mel: Tensor) -> None:
    share = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.39, 0.4])
    mixed = log_mixup_exp(mel, mel.flip(0), share)
    torch.testing.assert_close(mixed[0], mel[0], atol=1e-5, rtol=0)
    for i in range(6):
        a = float(share[i])
        expected = torch.log((1 - a) * mel[i].double().exp() + a * mel[5 - i].double().exp()).float()
        torch.testing.assert_close(mixed[i], expected, atol=1e-6, rtol=0)


def test_memory_keeps_the_latest_in_order() -> None:
    memory, clips = MixupMemory(5), torch.arange(12.0)[:, None]
    with pytest.raises(IndexError):
        memory.draw(torch.zeros(1))
    memory.push(clips[:3])
    assert memory.draw(torch.tensor([0.0, 0.34, 0.67, 0.999])).flatten().tolist() == [0, 1, 2, 2]
    memory.push(clips[3:7])
    assert memory.draw(torch.arange(5) / 5).flatten().tolist() == [2, 3, 4, 5, 6]
    memory.push(clips[:12])
    assert memory.draw(torch.arange(5) / 5).flatten().tolist() == [7, 8, 9, 10, 11]
    assert len(memory) == 5


def test_block_masks_are_the_official_generators() -> None:
    """How often each of 250 tokens is hidden: 32 or 33 spans of 5 at starts drawn from 245 without replacement."""
    rng = np.random.default_rng(2)
    masks = np.stack([draw_mask(rng, 250) for _ in range(20_000)])

    def hidden(t: int, spans: int) -> float:  # one of the starts that reach t is among those drawn
        reach = len(range(max(0, t - 4), min(t, 244) + 1))
        return 1 - comb(245 - reach, spans) / comb(245, spans)

    expected = np.array([(hidden(t, 32) + hidden(t, 33)) / 2 for t in range(250)])
    assert np.abs(masks.mean(0) - expected).max() < 0.02
    assert abs(masks.mean() - expected.mean()) < 0.002
    assert expected.mean() == pytest.approx(0.502, abs=0.005)
    assert not masks[:, 249].any()
    runs = np.diff(np.flatnonzero(np.diff(np.pad(masks, ((0, 0), (1, 1))).astype(int).ravel())))[::2]
    assert runs.min() >= 5


def test_other_masks() -> None:
    rng = np.random.default_rng(3)
    random = np.stack([draw_mask(rng, 250, "random", 0.5) for _ in range(200)])
    assert (random.sum(1) == 125).all()
    uniform = np.stack([draw_mask(rng, 250, "uniform") for _ in range(2000)])
    assert uniform.mean() == pytest.approx(0.5606, abs=0.004)  # fairseq's compute_mask_indices, 20,000 masks
    for tokens in range(2, 40):  # short clips: something is hidden, and no error
        for kind in ("block", "uniform"):
            shown = draw_mask(rng, tokens, kind)
            assert 0 < shown.sum() <= tokens, (tokens, kind)
