"""Encoders of pictures by name: Inception v3 as torch-fidelity has it, and folders of timm's hub."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from audiokd.data.images import load_image
from audiokd.data.items import Item, read_items, write_items
from audiokd.errors import AudiokdError
from audiokd.hub.auto import load_model
from audiokd.stages.extract import extract
from audiokd.tokens.store import open_store
from audiokd.vision.transforms import plain_view

SEEN = {"input_size": [3, 64, 64], "crop_pct": 1.0, "classifier": "fc"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the network, which torch-fidelity builds from a file alone."""
    path = tmp_path_factory.mktemp("inception") / "random.pth"

    class Drawn(FeatureExtractorInceptionV3):
        def load_state_dict(self, *args: object, **kwargs: object) -> None:
            return None

    torch.manual_seed(0)
    torch.save({}, path)
    torch.save(Drawn("drawn", ["2048"], str(path)).state_dict(), path)
    return path


@pytest.fixture
def photographs(coffee: Path, tmp_path: Path) -> Path:
    with Image.open(coffee) as image:
        for k in range(2):
            image.convert("RGB").crop((200 * k, 0, 200 * k + 120, 90)).save(tmp_path / f"{k}.png")
    write_items(tmp_path / "data", [Item(f"p{k}", str(tmp_path / f"{k}.png")) for k in range(2)])
    return tmp_path / "data"


@pytest.mark.parametrize("layer", ["2048", "64"])
def test_inception_is_torch_fidelitys(weights: Path, photographs: Path, tmp_path: Path, layer: str) -> None:
    extract(f"inception:{weights}", str(photographs), str(tmp_path / "store"), layer=layer, batch_size=2)
    net = FeatureExtractorInceptionV3("theirs", [layer], str(weights))
    for item in read_items(photographs):
        x = torch.from_numpy(np.array(load_image(item))).permute(2, 0, 1)[None]
        found = open_store(tmp_path / "store")[item.id].array
        assert found.shape == (1, int(layer))
        np.testing.assert_allclose(found[0], net(x)[0][0].numpy(), rtol=1e-4, atol=1e-5)


def test_inception_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AudiokdError, match="no such file"):
        load_model(f"inception:{tmp_path}/none.pth")
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(AudiokdError, match="no weights of this network"):
        load_model(f"inception:{tmp_path}/other.pth")
    torch.save(Path, tmp_path / "code.pth")
    with pytest.raises(AudiokdError, match="code of which would have to run"):
        load_model(f"inception:{tmp_path}/code.pth")

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("nobody answers")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(AudiokdError, match="cannot be fetched: nobody answers") as e:
        load_model("inception")
    assert "inception:FILE" in str(e.value)


def test_a_folder_of_timms_hub(photographs: Path, tmp_path: Path) -> None:
    net = timm.create_model("test_resnet", num_classes=7).eval()
    folder = tmp_path / "resnet"
    folder.mkdir()
    config = {"architecture": "test_resnet", "num_classes": 7, "pretrained_cfg": SEEN}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(net.state_dict(), folder / "model.safetensors")
    model = load_model(folder)
    extract(str(folder), str(photographs), str(tmp_path / "store"))
    item = read_items(photographs)[0]
    x = plain_view(load_image(item), model.preprocess)[None]
    assert x.shape == (1, 3, 64, 64)
    with torch.no_grad():
        said = net.forward_head(net.forward_features(x), pre_logits=True)
    np.testing.assert_allclose(open_store(tmp_path / "store")[item.id].array, said.numpy(), rtol=1e-4, atol=1e-5)
