"""The media side of a pair model by itself, and what a waveform is to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_pairs import save_pair

from audiokd.errors import AudiokdError
from audiokd.teachers.pair import load_pair
from audiokd.teachers.pair_media import SCALES, build_media, copy_media, media_shape


@pytest.mark.parametrize("family", ["clip", "siglip", "clap", "lit_vit", "lit_timm"])
def test_a_tower_says_what_its_pair_model_does(tmp_path: Path, family: str) -> None:
    pair = load_pair(str(save_pair(family, tmp_path / family)))
    tower = build_media(media_shape(pair)).eval()
    copy_media(pair, tower)
    if family == "clap":
        wavs = [torch.randn(16_000 * 3) * 0.1, torch.randn(5_000) * 0.1]
        views = tower.preprocess(wavs)
        assert all(torch.equal(views[k], v) for k, v in pair.preprocess(wavs).items())
        assert tower.sample_rate == 16_000
    else:
        views = {"pixel_values": torch.randn(2, 3, 32, 32)}
    with torch.no_grad():
        found = tower.embed_media(views)
    torch.testing.assert_close(found, pair.embed_media(views), atol=1e-5, rtol=1e-4)
    assert not any("text" in name for name in tower.state_dict())
    assert {n for n, p in tower.net.named_parameters() if not p.requires_grad} <= set(SCALES)
    tower.embed_media(views).sum().backward()  # not of the pair model's own weights
    assert all(p.grad is None for p in pair.parameters())


def test_an_extractor_that_is_none(tmp_path: Path) -> None:
    shape = media_shape(load_pair(str(save_pair("clap", tmp_path / "clap"))))
    with pytest.raises(AudiokdError, match="transformers has no feature extractor 'Linear'"):
        build_media(shape | {"extractor": {"feature_extractor_type": "Linear"}})
