"""EfficientNet-Lite0 from a package: its own network's logits, the class of a photograph, and files that are not it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from audiokd.data.fetch import downloads_dir, fetch_pypi
from audiokd.errors import AudiokdError
from audiokd.hub.timm_encoder import TimmEncoder
from audiokd.vision.backbones import load_backbone
from audiokd.vision.efficientnet_lite0 import NAME, convert_efficientnet_lite0, write_lite0_folder
from audiokd.vision.transforms import plain_view

NETWORK = ("efficientnet-lite-pytorch", "0.1.0", "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41")
ESPRESSO = 967  # of ImageNet


@pytest.fixture(scope="module")
def converted(lite0_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lite0") / "lite0.safetensors"
    convert_efficientnet_lite0(lite0_file, out)
    return out


@pytest.fixture(scope="module")
def model(converted: Path) -> nn.Module:
    model = timm.create_model(NAME).eval()
    model.load_state_dict(load_file(converted))
    return model


@pytest.fixture(scope="module")
def original(lite0_file: Path, monkeypatch_module: pytest.MonkeyPatch) -> nn.Module:
    """The network of its own package, which is not installed."""
    name = "efficientnet_lite_pytorch"
    root = downloads_dir() / "tests" / "lite0_network"
    fetch_pypi(*NETWORK, root / name, [f"{name}/{f}.py" for f in ("__init__", "model", "utils")])
    monkeypatch_module.syspath_prepend(str(root))
    net = importlib.import_module(name).EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(torch.load(lite0_file, weights_only=True))
    return net


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    for name in [n for n in sys.modules if n.startswith("efficientnet_lite_pytorch")]:
        del sys.modules[name]


@torch.no_grad()
def test_its_folder_is_an_encoder_that_sees_pictures_as_it_was_trained(
    lite0_file: Path, converted: Path, tmp_path: Path, coffee: Path
) -> None:
    write_lite0_folder(lite0_file, tmp_path / "lite0")
    encoder, net = TimmEncoder(str(tmp_path / "lite0")).eval(), load_backbone(NAME, str(converted)).eval()
    assert encoder.preprocess == net.preprocess
    assert encoder.preprocess.mean == (0.5, 0.5, 0.5)
    with Image.open(coffee) as picture:
        x = plain_view(picture.convert("RGB"), net.preprocess)[None]
    assert torch.equal(encoder.extract(x, None, "pooled")[0][0, 0], net(x)[0])


@torch.no_grad()
def test_logits_are_its_own_packages(model: nn.Module, original: nn.Module, converted: Path) -> None:
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    want = original(images)
    torch.testing.assert_close(model(images), want, rtol=0, atol=1e-5)
    other = timm.create_model("efficientnet_lite0").eval()  # of the same shapes
    other.load_state_dict(load_file(converted))
    assert (other(images) - want).abs().max() > 1
    features = load_backbone(NAME, str(converted)).eval()(images)
    torch.testing.assert_close(model.classifier(features), want, rtol=0, atol=1e-5)


@torch.no_grad()
def test_it_sees_the_espresso(model: nn.Module, converted: Path, coffee: Path) -> None:
    backbone = load_backbone(NAME, str(converted))
    assert (backbone.dim, backbone.preprocess.mean, backbone.preprocess.std) == (1280, (0.5,) * 3, (0.5,) * 3)
    image = plain_view(Image.open(coffee).convert("RGB"), backbone.preprocess)
    top = model(image[None]).softmax(-1)[0].topk(1)
    assert top.indices.tolist() == [ESPRESSO]
    assert top.values[0] > 0.9


def test_bad_files(lite0_file: Path, tmp_path: Path) -> None:
    state = torch.load(lite0_file, weights_only=True)
    broken = {
        "weights of another model: missing: conv_stem.weight": {
            k: v for k, v in state.items() if k != "_conv_stem.weight"
        },
        r"unknown: _blocks\.16\._bn1\.weight": state | {"_blocks.16._bn1.weight": torch.zeros(3)},
        r"unknown: _blocks\.0\._expand_conv\.weight": state | {"_blocks.0._expand_conv.weight": torch.zeros(3)},
        r"unknown: _fd\.bias": state | {"_fd.bias": torch.zeros(3)},
        r"classifier\.bias: \[10\] there, \[1000\] expected": state | {"_fc.bias": torch.zeros(10)},
        "holds no tensors by name": {"epoch": 3},
    }
    bad, out = tmp_path / "bad.pth", tmp_path / "out.safetensors"
    for what, tree in broken.items():
        torch.save(tree, bad)
        with pytest.raises(AudiokdError, match=f"bad\\.pth: .*{what}"):
            convert_efficientnet_lite0(bad, out)
    with pytest.raises(AudiokdError, match=r"no such file\n  give efficientnet-lite0-57934424\.pth"):
        convert_efficientnet_lite0(tmp_path / "gone.pth", out)
    assert not out.exists()
