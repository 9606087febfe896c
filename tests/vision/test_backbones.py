"""Backbones of timm: pooled features, weights from files, folders and the hub, and what is said of others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import resolve_model_data_config
from torch import nn

from audiokd.errors import AudiokdError
from audiokd.vision.backbones import load_backbone

CNN, VIT = "test_resnet.r160_in1k", "test_vit.r160_in1k"  # timm's own for tests: 0.5 and 0.4 M parameters


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    """With its classifier."""
    torch.manual_seed(0)
    return timm.create_model(CNN).eval()


def file_of(model: nn.Module, path: Path) -> str:
    save_file(model.state_dict(), path)
    return str(path)


@torch.no_grad()
@pytest.mark.parametrize(
    "name", [CNN, VIT, "test_convnext", "test_efficientnet", "mobilenetv3_small_050", "deit_tiny_distilled_patch16_224"]
)
def test_features_are_what_the_classifier_gets(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    net = load_backbone(name, file_of(model, tmp_path / "w.safetensors")).eval()
    images = torch.randn(2, 3, *net.preprocess.size)
    features = net(images)
    want = model.forward_head(model.forward_features(images), pre_logits=True)
    torch.testing.assert_close(features, want[0] if isinstance(want, tuple) else want)
    assert features.shape == (2, net.dim)


def test_channels_lie_together() -> None:
    """The layout that depthwise convolutions are fast in reaches the network, and the picture's own is left alone."""
    net, seen = load_backbone("mobilenetv3_small_050").eval(), []
    net.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 3, 64, 64)
    net(images)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert images.is_contiguous()


def test_preprocessing_is_that_of_the_weights() -> None:
    for name, mean, interpolation, crop in [
        ("vit_small_patch16_224.augreg_in1k", 0.5, "bicubic", 0.9),
        ("vit_small_patch16_224.dino", 0.485, "bicubic", 0.9),
        ("resnet50.tv_in1k", 0.485, "bilinear", 0.875),
    ]:
        p = load_backbone(name).preprocess
        assert (p.size, p.mean[0], p.interpolation, p.crop, p.crop_mode) == (
            (224, 224),
            mean,
            interpolation,
            crop,
            "center",
        )
    assert load_backbone("test_vit").preprocess.size == (160, 160)


def test_another_size() -> None:
    """Convolutions take any; a ViT's table of positions is of one."""
    net = load_backbone(CNN).eval()
    p = net.preprocess_at(64)
    assert p == replace(net.preprocess, size=(64, 64))
    assert net(torch.zeros(1, 3, *p.size)).shape == (1, net.dim)
    assert net.preprocess_at(0) == net.preprocess
    with pytest.raises(AudiokdError, match="32 or more"):
        net.preprocess_at(31)
    vit = load_backbone("vit_tiny_patch16_224")
    assert vit.preprocess_at(224) == vit.preprocess
    with pytest.raises(AudiokdError, match="224 x 224 pixels only, not of 64"):
        vit.preprocess_at(64)


@torch.no_grad()
def test_weights_of_any_file(whole: nn.Module, tmp_path: Path) -> None:
    images = torch.randn(2, 3, 160, 160)
    want = load_backbone(CNN, file_of(whole, tmp_path / "a.safetensors")).eval()(images)
    headless = timm.create_model(CNN, num_classes=0)
    headless.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("fc.")})
    many = timm.create_model(CNN, num_classes=7)
    many.load_state_dict(headless.state_dict() | {k: v for k, v in many.state_dict().items() if k.startswith("fc.")})
    torch.save(many.state_dict(), tmp_path / "b.pth")
    torch.save({"model": whole.state_dict(), "epoch": 3}, tmp_path / "c.pth")
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "d.ckpt")
    for file in (file_of(headless, tmp_path / "e.safetensors"), *(tmp_path / f for f in ("b.pth", "c.pth", "d.ckpt"))):
        assert torch.equal(load_backbone(CNN, str(file)).eval()(images), want)
    torch.manual_seed(1)
    drawn = load_backbone(CNN)
    assert drawn.training
    assert (drawn.eval()(images) - want).abs().max() > 0.01


def hub_folder(whole: nn.Module, folder: Path, **config: Any) -> Path:
    """As timm's push_to_hf_hub writes it, with a mean that no other weights have."""
    from timm.models import save_for_hf

    folder.mkdir(parents=True)
    save_for_hf(whole, folder, safe_serialization=True)
    written = json.loads((folder / "config.json").read_text())
    written["pretrained_cfg"]["mean"] = [0.1, 0.2, 0.3]
    (folder / "config.json").write_text(json.dumps(written | config))
    return folder


@torch.no_grad()
def test_a_folder_and_a_hub_id(whole: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(2, 3, 160, 160)
    folder = hub_folder(whole, tmp_path / "hub")
    net = load_backbone("test_resnet", str(folder)).eval()
    want = whole.forward_head(whole.forward_features(images), pre_logits=True)
    torch.testing.assert_close(net(images), want)
    assert net.preprocess.mean == (0.1, 0.2, 0.3)

    asked = []

    def download(id: str, file: str) -> str:
        from huggingface_hub.errors import EntryNotFoundError

        asked.append((id, file))
        if not (folder / file).exists():
            raise EntryNotFoundError(f"no {file}")
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert torch.equal(load_backbone("test_resnet", "timm/test_resnet.mine").eval()(images), net(images))
    assert asked == [("timm/test_resnet.mine", f) for f in ("config.json", "model.safetensors")]
    torch.save(whole.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert torch.equal(load_backbone("test_resnet", "timm/test_resnet.mine").eval()(images), net(images))
    with pytest.raises(AudiokdError, match=r"weights of test_resnet, not test_vit\n  ask for test_resnet"):
        load_backbone("test_vit", "timm/test_resnet.mine")


def test_names_that_timm_does_not_have() -> None:
    with pytest.raises(
        AudiokdError, match=r"timm has no model vit_smal_patch16_224\n  near ones: vit_small_patch16_224"
    ):
        load_backbone("vit_smal_patch16_224")
    with pytest.raises(
        AudiokdError, match=r"no weights augreg of vit_small_patch16_224\n  tags of .*augreg_in1k, .*dino"
    ):
        load_backbone("vit_small_patch16_224.augreg")
    with pytest.raises(AudiokdError, match=r"timm has no model ;;;\n  timm\.list_models"):
        load_backbone(";;;")


def test_weights_that_cannot_be(whole: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    good = Path(file_of(whole, tmp_path / "good.safetensors"))

    def refused(what: str, weights: object, name: str = CNN) -> None:
        with pytest.raises(AudiokdError, match=what):
            load_backbone(name, str(weights))

    refused(r"gone\.pth: no such file", "gone.pth")
    refused("no such file or folder, and cannot be had from the hub", "nobody/nothing")
    refused("weights of another model: missing: .*; and", good, VIT)
    other = whole.state_dict() | {"conv1.0.weight": torch.zeros(2, 3, 3, 3)}
    save_file(other, tmp_path / "other.safetensors")
    refused(r"conv1\.0\.weight: \[2, 3, 3, 3\] there, \[\d+, 3, 3, 3\] expected", tmp_path / "other.safetensors")
    del other["conv1.0.weight"]
    save_file(other, tmp_path / "less.safetensors")
    refused(r"weights of another model: missing: conv1\.0\.weight\n", tmp_path / "less.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:1000])
    refused(r"cut\.safetensors: no safetensors file, or not whole", tmp_path / "cut.safetensors")
    torch.save(whole, tmp_path / "pickled.pth")
    refused(r"holds an object of timm\.", tmp_path / "pickled.pth")
    torch.save({"model": [1, 2]}, tmp_path / "list.pth")
    refused("holds no tensors by name", tmp_path / "list.pth")
    refused("no config.json that names timm's architecture", tmp_path)
    folder = hub_folder(whole, tmp_path / "hub")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").unlink(missing_ok=True)
    refused(r"model\.safetensors: no such file", folder)


def test_every_settings_value_is_timms(whole: nn.Module) -> None:
    p, c = load_backbone(CNN).preprocess, resolve_model_data_config(whole)
    assert ((3, *p.size), p.mean, p.std, p.interpolation, p.crop, p.crop_mode) == tuple(
        c[k] for k in ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
    )
