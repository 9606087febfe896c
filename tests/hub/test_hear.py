"""The HEAR face by the written rules of its API (hearbenchmark.com, 2021.0): names, attributes, shapes, types, times."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import soundfile as sf
import torch

from audiokd.errors import AudiokdError
from audiokd.hub import hear
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel


@pytest.fixture(scope="module", params=["frame", "clip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("model") / request.param
    ATSTModel(ATSTConfig(kind=request.param, dim=32, depth=3, heads=4)).save_pretrained(out)
    return out


def test_the_rules(folder: Path, two_cities: Path) -> None:
    model = hear.load_model(str(folder))
    assert isinstance(model, torch.nn.Module)
    assert next(iter(inspect.signature(hear.load_model).parameters)) == "model_file_path"
    assert model.sample_rate in (16000, 22050, 32000, 44100, 48000)
    x, _ = sf.read(two_cities, dtype="float32", frames=12 * 48_000)
    audio = torch.from_numpy(x[::3].copy()).view(3, -1)  # 3 sounds of 4 s
    scene = hear.get_scene_embeddings(audio, model)
    assert scene.shape == (3, model.scene_embedding_size)
    assert scene.dtype == torch.float32
    frames, times = hear.get_timestamp_embeddings(audio, model)
    assert frames.shape == (3, times.shape[1], model.timestamp_embedding_size)
    assert times.shape[0] == 3
    assert times.dtype == frames.dtype == torch.float32
    assert (times.diff(dim=1) == 40).all()
    assert times[0, 0] == 20  # the middle of the first frame
    assert times.min() >= 0
    assert times.max() <= 4000
    assert not scene.requires_grad
    torch.testing.assert_close(hear.get_scene_embeddings(audio[1:2], model)[0], scene[1], atol=1e-5, rtol=1e-4)
    assert torch.equal(hear.get_scene_embeddings(audio, model), scene)  # no state from call to call


def test_what_it_refuses(folder: Path) -> None:
    with pytest.raises(AudiokdError, match="no model given"):
        hear.load_model()
    with pytest.raises(ValueError, match=r"\[n_sounds, n_samples\]"):
        hear.get_scene_embeddings(torch.zeros(16_000), hear.load_model(str(folder)))
