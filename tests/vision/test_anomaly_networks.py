"""Pyramids of timm backbones, students that follow them, maps: shapes, strictness, and by-hand numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter

from audiokd.errors import AudiokdError
from audiokd.methods.dbfad.config import DBFADConfig
from audiokd.methods.dbfad.model import build_student
from audiokd.vision.anomaly_map import AnomalyMap, blur_matrix, scores_of
from audiokd.vision.feature_pyramid import FeaturePyramid, check_size, load_pyramid
from audiokd.vision.inverted_resnet import InvertedResNet
from audiokd.vision.level_embedding import LevelEmbedding
from audiokd.vision.sspcab import SSPCAB
from audiokd.vision.width_attention import WidthAttention

KINDS = ("dbfad", "rd4ad", "stfpm")


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_a_pyramid_is_the_backbone(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(name).eval()
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    pyramid, backbone = load_pyramid(name, str(tmp_path / "w.safetensors"))
    assert not pyramid.training
    x = torch.randn(2, 3, 64, 96)
    maps = pyramid(x)
    assert [(m.shape[1], 64 // m.shape[2], 96 // m.shape[3]) for m in maps] == [
        (of.channels, of.stride, of.stride) for of in pyramid.levels
    ]
    assert [of.stride for of in pyramid.levels] == [4, 4, 8, 16]
    theirs = timm.create_model(name, features_only=True)
    assert [of.channels for of in pyramid.levels] == theirs.feature_info.channels()[:4]
    torch.testing.assert_close(maps[3], whole.forward_intermediates(x, indices=[3], intermediates_only=True)[0])
    assert pyramid.signed() == tuple(bool((m < 0).any()) for m in maps)
    stem = whole.forward_intermediates(x, indices=[0], intermediates_only=True)[0]
    torch.testing.assert_close(maps[0], torch.nn.functional.max_pool2d(stem, 3, 2, 1))
    assert backbone.preprocess.mean == whole.pretrained_cfg["mean"]
    assert len(FeaturePyramid(name, stem=False).levels) == 3


def test_weights_of_another_backbone_and_backbones_without_maps(tmp_path: Path) -> None:
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(AudiokdError, match="weights of another model"):
        load_pyramid("test_resnet", str(tmp_path / "w.safetensors"))
    with pytest.raises(AudiokdError, match=r"strides \[.*\]; 3 are due from 4 on.*\n.*resnet34"):
        FeaturePyramid("test_vit")
    with pytest.raises(AudiokdError, match="near ones: resnet34"):
        FeaturePyramid("resnet3")


@pytest.mark.parametrize(("size", "fix"), [(100, "96 or 128"), (32, "64 or 96"), (0, "64 or 96")])
def test_the_right_sizes_are_named(size: int, fix: str) -> None:
    with pytest.raises(AudiokdError, match=f"--model.size {fix}"):
        check_size(size, 32)
    check_size(96, 32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_every_student_follows_its_teacher(name: str, kind: str) -> None:
    """Any size that the strides allow, square or not; a gradient to every weight; signs where the teacher has them."""
    torch.manual_seed(0)
    teacher = FeaturePyramid(name, kind == "dbfad").eval()
    count = len(teacher.levels)
    config = DBFADConfig(kind, name, "", kind == "dbfad", teacher.signed(), depths=(1,) * count)
    student = build_student(config, teacher)
    for size in ((64, 64), (32, 96)):
        x = torch.randn(2, 3, *size)
        theirs = teacher(x)
        mine = student(x, theirs)
        assert [m.shape for m in mine] == [m.shape for m in theirs]
    sum(m.square().mean() for m in mine).backward()
    assert all(p.grad is not None for p in student.parameters())
    if kind != "stfpm":
        assert all(bool((m < 0).any()) == s for m, s in zip(mine, teacher.signed()))


def test_a_student_of_bottleneck_blocks() -> None:
    """As RD4AD's for Wide ResNet-50-2, in the small: half of the width inside, three, four and six blocks."""
    torch.manual_seed(0)
    teacher = FeaturePyramid("test_resnet", stem=False).eval()
    config = DBFADConfig("rd4ad", "test_resnet", "", False, teacher.signed(), depths=(3, 4, 6), block="bottleneck")
    student = build_student(config, teacher)
    x = torch.randn(2, 3, 64, 64)
    theirs = teacher(x)
    assert [m.shape for m in student(x, theirs)] == [m.shape for m in theirs]
    assert [len(stage) for stage in student.decoder.stages] == [3, 4, 6]
    first = student.decoder.stages[0][0].branch
    coarse = teacher.levels[-1].channels
    assert (first[0].in_channels, first[0].out_channels, first[3].stride) == (2 * coarse, coarse // 2, (2, 2))


def test_residual_paths_and_gates_are_flags() -> None:
    shape = ((8, 8, 16, 32), (4, 4, 8, 16), (False,) * 4)
    sizes = {
        (residual, attention): sum(
            p.numel() for p in InvertedResNet(*shape, residual=residual, attention=attention).parameters()
        )
        for residual in (True, False)
        for attention in (True, False)
    }
    assert sizes[True, True] > sizes[True, False] > sizes[False, True] == sizes[False, False]
    wide = InvertedResNet(*shape, widths=(16, 16, 32, 64), depths=(1,) * 4)
    maps = wide(torch.randn(1, 64, 2, 2), [])
    assert [m.shape[1] for m in maps] == [8, 8, 16, 32]  # a 1x1 where the widths differ
    with pytest.raises(AudiokdError, match="3 depths, the teacher has 4 maps"):
        build_student(DBFADConfig("dbfad", "test_resnet", depths=(1, 1, 1)), FeaturePyramid("test_resnet"))
    with pytest.raises(AudiokdError, match="no detector patchcore"):
        build_student(DBFADConfig("patchcore"), FeaturePyramid("test_resnet"))


def test_the_bottleneck_has_the_papers_sizes() -> None:
    """Of ResNet-34 at 256 pixels: 64, 64, 128 and 256 channels, to 512 of 8 x 8."""
    net = LevelEmbedding((64, 64, 128, 256), (4, 4, 8, 16))
    convs = [
        [(c.in_channels, c.out_channels, c.stride[0]) for c in b if isinstance(c, torch.nn.Conv2d)]
        for b in net.branches
    ]
    assert convs == [[(64, 128, 2), (128, 256, 2)]] * 2 + [[(128, 256, 2)], [(256, 256, 1)]]
    maps = [torch.randn(1, c, s, s) for c, s in ((64, 16), (64, 16), (128, 8), (256, 4))]
    assert net(maps).shape == (1, 512, 2, 2)


def test_sspcab_sees_corners_alone() -> None:
    torch.manual_seed(0)
    block = SSPCAB(2, kernel=1, dilation=1, reduction=1).eval()
    x = torch.zeros(1, 2, 9, 9)
    before = torch.relu(sum(c(torch.zeros(1, 2, 1, 1)) for c in block.corners))
    x[0, 0, 4, 4] = 1.0
    y = block(x)
    assert y.shape == x.shape
    plain = block(torch.zeros_like(x))
    ratio = (y / block.gate(torch.relu(_corner_sum(block, x)).mean((-2, -1)))[..., None, None]) - before
    moved = {(int(r), int(c)) for r, c in ratio.abs().sum((0, 1)).gt(1e-6).nonzero()}
    assert moved <= {(2, 2), (2, 6), (6, 2), (6, 6)}  # k' + d = 2 away
    assert moved
    assert not torch.equal(y, plain)


def _corner_sum(block: SSPCAB, x: torch.Tensor) -> torch.Tensor:
    p = torch.nn.functional.pad(x, (2, 2, 2, 2))
    shifts = [(0, 0), (0, 4), (4, 0), (4, 4)]
    return sum(c(p[..., t : t + 9, a : a + 9]) for c, (t, a) in zip(block.corners, shifts))


def test_the_gate_is_a_softmax_over_the_width() -> None:
    torch.manual_seed(0)
    gate = WidthAttention(3, kernel=1, shared=True)
    x = torch.randn(2, 3, 4, 5)
    value = torch.relu(gate.value(x))
    torch.testing.assert_close(gate(x), gate.score(value).softmax(-1) * value)
    off = WidthAttention(3, kernel=1, shared=False, gated=False)
    torch.testing.assert_close(off(x), torch.relu(off.value(x)))


@pytest.mark.parametrize("size", [64, 20, 7])
def test_the_blur_is_scipys(size: int) -> None:
    x = np.random.default_rng(0).random((size, size))
    g = blur_matrix(size, 4.0)
    np.testing.assert_allclose(g @ x @ g.T, gaussian_filter(x, 4.0), atol=1e-12)


def test_maps_by_hand_and_a_batch_of_one() -> None:
    d = [torch.rand(3, 4, 4), torch.rand(3, 2, 2)]
    up = [torch.nn.functional.interpolate(x[:, None], (8, 8), mode="bilinear")[:, 0] for x in d]
    torch.testing.assert_close(AnomalyMap(8, sigma=0)(d), up[0] + up[1])
    torch.testing.assert_close(AnomalyMap(8, weigh="area", sigma=0)(d), up[0] / 16 + up[1] / 4)
    torch.testing.assert_close(AnomalyMap(8, "product", sigma=0)(d), up[0] * up[1])
    blurred = AnomalyMap(8, sigma=2.0)
    maps = blurred(d)
    expected = np.stack([gaussian_filter(x.numpy(), 2.0) for x in up[0] + up[1]])
    np.testing.assert_allclose(maps.numpy(), expected, atol=1e-6)
    for k in range(3):  # in both directions, alone as in a batch
        torch.testing.assert_close(blurred([x[k : k + 1] for x in d]), maps[k : k + 1])
    torch.testing.assert_close(scores_of(maps), torch.stack([m.max() for m in maps]))
