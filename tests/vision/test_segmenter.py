"""Segmentation networks: every encoder of the benchmark, every network, sizes that no stride divides, weights that are strict."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_backbones  # noqa: F401  registers them
import torch
import yaml
from safetensors.torch import save_file

from audiokd.errors import AudiokdError
from audiokd.vision.backbones import load_backbone
from audiokd.vision.segmenter import NETWORKS, Segmenter, build_segmenter

RECIPE = Path(__file__).parents[2] / "egs" / "offnadir_toy" / "seg1"
RESNET = "audiokd_tiny_resnet"
BENCHMARK = yaml.safe_load((RECIPE / "conf" / "benchmark.yaml").read_text())
LISTED = BENCHMARK["encoders"]


def step(model: Segmenter, size: int = 32) -> None:
    """One step of SGD on a random batch, by which every stage of the encoder and the decoder is moved."""
    x, y = torch.randn(2, 3, size, size), (torch.rand(2, size, size) < 0.5).float()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y)
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert torch.isfinite(loss)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert any("decoder" in n for n in moved)
    assert any("encoder" in n for n in moved)


def test_the_list_is_whole() -> None:
    assert len(LISTED) == len(set(LISTED)) == 43
    assert tuple(BENCHMARK["networks"]) == NETWORKS
    assert set(BENCHMARK["here"]) <= set(LISTED)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", LISTED)
def test_every_encoder_with_unet(encoder: str) -> None:
    torch.manual_seed(0)
    model = build_segmenter("unet", f"tu-{encoder}")
    step(model, 64)
    stages = model.blocks()
    assert len(stages) == 5
    assert sorted(n for s in stages for n in s) == sorted(
        n for n, _ in model.named_parameters() if n.startswith("net.encoder.")
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoder", BENCHMARK["here"])
@pytest.mark.parametrize("network", BENCHMARK["networks"])
def test_every_pair_that_is_run_here(network: str, encoder: str) -> None:
    torch.manual_seed(0)
    step(build_segmenter(network, encoder), 64)


@pytest.mark.parametrize("network", NETWORKS)
def test_any_size_and_any_batch(network: str) -> None:
    """A picture has the same logits alone and in a batch, and its own number of pixels whatever the stride."""
    torch.manual_seed(0)
    model = build_segmenter(network, RESNET).eval()
    x = torch.randn(3, 3, 37, 50)
    with torch.no_grad():
        both, alone = model(x), model(x[1:2])
    assert both.shape == (3, 37, 50)
    torch.testing.assert_close(both[1:2], alone, atol=1e-5, rtol=1e-4)
    whole = torch.nn.functional.pad(x, (0, -50 % model.stride, 0, -37 % model.stride), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(model(whole)[:, :37, :50], both, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("encoder", ["densenet121", "hrnet_w18_small", "dpn68"])
def test_a_pair_that_cannot_be_built_is_named(encoder: str) -> None:
    with pytest.raises(AudiokdError, match=f"deeplabv3plus cannot be built on {encoder}"):
        build_segmenter("deeplabv3plus", encoder)


def test_names(tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="no network 'segnet'"):
        build_segmenter("segnet", RESNET)
    with pytest.raises(AudiokdError, match="near ones: resnet18"):
        build_segmenter("unet", "tu-resnet81")


@pytest.mark.parametrize("encoder", [RESNET, "tinynet_e", "mobilevit_xxs", "test_byobnet"])
def test_weights_of_whole_models(tmp_path: Path, encoder: str) -> None:
    """Whatever timm calls the parts of what it takes apart."""
    torch.manual_seed(0)
    backbone = load_backbone(encoder)
    for p in backbone.net.buffers():  # statistics that no other model has
        if p.is_floating_point():
            p.uniform_(0.5, 1.5)
    save_file({k: v.contiguous() for k, v in backbone.net.state_dict().items()}, tmp_path / "whole.safetensors")
    model = build_segmenter("unet", encoder, str(tmp_path / "whole.safetensors"))
    mine = {k.replace(".", "_"): v for k, v in model.net.encoder.model.state_dict().items()}
    theirs = {k.replace(".", "_"): v for k, v in backbone.net.state_dict().items()}
    assert mine.keys() <= theirs.keys()
    assert all(torch.equal(v, theirs[k]) for k, v in mine.items())
    assert (model.mean, model.std) == (backbone.preprocess.mean, backbone.preprocess.std)


def test_weights_are_strict(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = load_backbone(RESNET)
    state = {k: v.contiguous() for k, v in backbone.net.state_dict().items()}
    save_file(state, tmp_path / "whole.safetensors")
    model = build_segmenter("unet", RESNET, str(tmp_path / "whole.safetensors"))
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        mine = model.eval().net.encoder(x)[-1]
        torch.testing.assert_close(mine, backbone.net.eval().forward_features(x))
    state.pop("layer4.0.conv1.weight")
    save_file(state, tmp_path / "half.safetensors")
    with pytest.raises(AudiokdError, match=r"missing: layer4\.0\.conv1\.weight"):
        build_segmenter("unet", RESNET, str(tmp_path / "half.safetensors"))


def test_stages_are_told_apart() -> None:
    model = build_segmenter("unet", RESNET)
    stages = model.blocks()
    first = [{n.split(".")[3] for n in stage} for stage in stages]
    assert first == [{"layer4"}, {"layer3"}, {"layer2"}, {"layer1"}, {"conv1", "bn1"}]
    assert model.training
    model.net.encoder.requires_grad_(False)
    with pytest.raises(AudiokdError, match="cannot be told apart"):
        model.blocks()
