"""Views of a picture and its mask: the same pixels of both, a function of (seed, step, id) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiokd.errors import AudiokdError
from audiokd.vision.mask_views import pixels, random_pair
from audiokd.vision.unet3plus import FullScaleDecoder


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A picture whose red says where its mask is."""
    rng = np.random.default_rng(0)
    mask = rng.random((20, 30)) < 0.5
    picture = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    picture[..., 0] = mask * 255
    return picture, mask


@pytest.mark.parametrize("crop", [0, 9])
def test_a_mask_goes_with_its_picture(pair: tuple[np.ndarray, np.ndarray], crop: int) -> None:
    seen = set()
    for step in range(40):
        picture, mask = random_pair(*pair, crop, True, 0, step, "a")
        assert mask.shape == ((crop, crop) if crop else (20, 30))
        assert np.array_equal(picture[..., 0] > 0, mask)
        seen.add(mask.tobytes())
    assert len(seen) > 20 if crop else len(seen) == 4  # of a picture that is no square: half turns and mirrors


def test_it_is_drawn_from_its_key(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first = random_pair(*pair, 9, True, 0, 3, "a")
    assert all(np.array_equal(x, y) for x, y in zip(first, random_pair(*pair, 9, True, 0, 3, "a")))
    for key in ((1, 3, "a"), (0, 4, "a"), (0, 3, "b")):
        assert not np.array_equal(first[0], random_pair(*pair, 9, True, *key)[0])
    whole = random_pair(*pair, 0, False, 0, 3, "a")
    assert all(x is y for x, y in zip(whole, pair))
    with pytest.raises(AudiokdError, match="a: 30 x 20 pixels are no crop of 21"):
        random_pair(*pair, 21, True, 0, 3, "a")


def test_pixels() -> None:
    picture = np.full((2, 3, 3), (0, 51, 255), np.uint8)
    found = pixels(picture, (0.5, 0.2, 0.0), (0.5, 1.0, 2.0))
    assert (found.shape, found.dtype) == ((3, 2, 3), torch.float32)
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([-1.0, 0.0, 0.5]))


def test_the_decoder_sees_all_scales() -> None:
    """64 channels of each of five maps, the paper's 320, on the finest; a stage of no channels is left out."""
    for channels in ((8, 16, 24, 32, 40), (0, 16, 24, 32, 40)):
        decoder = FullScaleDecoder(channels).eval()
        maps = [torch.randn(1, c, 32 >> k, 32 >> k, requires_grad=True) for k, c in enumerate(channels)]
        found = decoder(maps)
        assert found.shape == (1, 320, 32, 32)
        found.sum().backward()
        assert all(m.grad is not None and bool(m.grad.any()) for m, c in zip(maps, channels) if c)
        per_level = [sum(isinstance(b, torch.nn.Sequential) for b in branches) for branches in decoder.branches]
        assert per_level == [sum(c > 0 for k, c in enumerate(channels) if k <= level) + 4 - level for level in range(4)]
