"""Clips as a network sees them: one crop for all frames, no mirror, and a plain middle square."""

from __future__ import annotations

import numpy as np
import torch

from audiokd.vision.clip_view import clip_tensor

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
FRAMES = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)


def test_the_middle_square_is_normalised_and_nothing_else() -> None:
    found = clip_tensor(FRAMES, 20, MEAN, STD)
    wanted = (FRAMES[:, :, 5:25].astype(np.float32) / 255 - MEAN) / STD
    assert torch.allclose(found, torch.from_numpy(wanted.astype(np.float32)).permute(3, 0, 1, 2), atol=1e-6)


def test_a_crop_is_the_same_in_every_frame_and_a_function_of_its_generator() -> None:
    still = np.repeat(FRAMES[:1], 4, 0)
    for k in range(20):
        found = clip_tensor(still, 16, MEAN, STD, np.random.default_rng(k), (0.3, 1.0))
        assert found.shape == (3, 4, 16, 16)
        assert torch.equal(found, found[:, :1].expand_as(found))
        assert torch.equal(found, clip_tensor(still, 16, MEAN, STD, np.random.default_rng(k), (0.3, 1.0)))


def test_nothing_is_mirrored_or_reversed() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, None, :, None], (4, 64, 64, 3)).copy()
    ramp += np.arange(4, dtype=np.uint8)[:, None, None, None] * 40
    for k in range(30):
        found = clip_tensor(ramp, 32, MEAN, STD, np.random.default_rng(k), (0.3, 1.0))
        assert bool((found[..., -1] > found[..., 0]).all())  # left is left
        assert bool((found[:, 1:] > found[:, :-1]).all())  # and before is before
