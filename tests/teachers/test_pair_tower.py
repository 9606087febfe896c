"""The media side of a pair model by itself, and what a waveform is to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_pairs import save_pair
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.teachers.pair import load_pair
from audiokd.teachers.pair_tower import PairTower, copy_tower, tower_shape


@pytest.mark.parametrize("family", ["clip", "siglip", "clap"])
def test_a_tower_says_what_its_pair_model_does(tmp_path: Path, family: str) -> None:
    pair = load_pair(str(save_pair(family, tmp_path / family)))
    tower = PairTower(**tower_shape(pair)).eval()
    copy_tower(pair.net, tower)
    if family == "clap":
        wavs = [torch.randn(16_000 * 3) * 0.1, torch.randn(5_000) * 0.1]
        views = tower.inputs(wavs)
        assert all(torch.equal(views[k], v) for k, v in pair.preprocess(wavs).items())
        assert tower.sample_rate == 16_000
    else:
        views = {"pixel_values": torch.randn(2, 3, 32, 32)}
    with torch.no_grad():
        found = F.normalize(tower(views), dim=-1)
    torch.testing.assert_close(found, pair.embed_media(views), atol=1e-5, rtol=1e-4)
    assert not any("text" in name for name in tower.state_dict())
    assert all(p.requires_grad for p in tower.parameters())
    tower(views).sum().backward()  # not of the pair model's own weights
    assert all(p.grad is None for p in pair.parameters())


def test_no_tower() -> None:
    with pytest.raises(AudiokdError, match="no tower of a pair model: bert"):
        PairTower({"model_type": "bert"}, 4)
