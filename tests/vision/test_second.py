"""SECOND's network over the ground, and the pyramid of pictures over a frozen backbone: sizes, and each written out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.methods.point_detr3d.config import PointDetr3dConfig
from audiokd.methods.point_detr3d.model import PictureMaps
from audiokd.vision.second import SecondBackbone, SecondNeck

WIDTHS, DEPTHS, STRIDES = (4, 6, 5), (1, 0, 2), (2, 2, 3)


def shaken(module: nn.Module) -> Any:
    """In eval mode, its batch norms with statistics of their own."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, nn.BatchNorm2d):
                for of in (m.running_mean, m.weight, m.bias):
                    of.add_(torch.randn(of.shape, generator=g) * 0.3)  # type: ignore[union-attr, operator, arg-type]
                m.running_var.mul_(torch.rand(m.num_features, generator=g) + 0.5)  # type: ignore[union-attr, operator]
    return module.eval()


def normed(x: Tensor, at: str, weights: dict[str, Tensor]) -> Tensor:
    mean, var, scale, shift = (weights[f"{at}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    by = scale / (var + 1e-3).sqrt()
    return ((x - mean[:, None, None]) * by[:, None, None] + shift[:, None, None]).relu()


@torch.no_grad()
def test_stages_by_hand() -> None:
    torch.manual_seed(0)
    net, x = shaken(SecondBackbone(3, WIDTHS, DEPTHS, STRIDES)), torch.randn(2, 3, 24, 36)
    maps, weights = net(x), net.state_dict()
    assert [tuple(m.shape) for m in maps] == [(2, 4, 12, 18), (2, 6, 6, 9), (2, 5, 2, 3)]
    for stage, (depth, stride, found) in enumerate(zip(DEPTHS, STRIDES, maps)):
        for k in range(1 + depth):  # the first has the stride
            kernel = weights[f"stages.{stage}.{k}.0.weight"]
            x = F.conv2d(x, kernel, stride=1 if k else stride, padding=1)
            x = normed(x, f"stages.{stage}.{k}.1", weights)
        torch.testing.assert_close(found, x)
    assert len(weights) == 6 * (3 + sum(DEPTHS))  # no bias, nothing else


@torch.no_grad()
def test_the_neck_by_hand() -> None:
    """Each map at the first one's size: a transposed convolution whose cells do not overlap, the coarsest by 2 x 3."""
    torch.manual_seed(0)
    neck = shaken(SecondNeck(WIDTHS, STRIDES, 7))
    maps = [torch.randn(2, 4, 12, 18), torch.randn(2, 6, 6, 9), torch.randn(2, 5, 2, 3)]
    out, weights = neck(maps), neck.state_dict()
    assert (tuple(out.shape), neck.channels) == ((2, 21, 12, 18), 21)
    for k, (x, factor) in enumerate(zip(maps, (1, 2, 6))):
        kernel = weights[f"ups.{k}.0.weight"]  # [in, out, factor, factor]
        b, _, h, w = x.shape
        wide = torch.einsum("bihw,ioyx->bohywx", x, kernel).reshape(b, 7, h * factor, w * factor)
        torch.testing.assert_close(out[:, 7 * k : 7 * k + 7], normed(wide, f"ups.{k}.1", weights))


def picture_maps(frozen: bool) -> PictureMaps:
    torch.manual_seed(0)
    return PictureMaps(
        PointDetr3dConfig(dim=8, backbone="test_resnet", image_levels=3, camera_size=(64, 96), frozen_backbone=frozen)
    )


def test_the_pyramid_of_pictures_by_hand() -> None:
    """1 x 1 convolutions, the coarser one added at twice the size, 3 x 3 convolutions; pictures are scaled before."""
    net = picture_maps(True).train()
    before = {k: v.clone() for k, v in net.pyramid.state_dict().items()}
    images = torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8)
    read = net.backbone(images)
    x = (images / 255 - torch.tensor((0.485, 0.456, 0.406))[:, None, None]) / torch.tensor((0.229, 0.224, 0.225))[
        :, None, None
    ]
    for a, b in zip(read, net.pyramid(x)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    found, weights = net(read, 2), net.fpn.state_dict()
    coarser: Tensor | None = None
    for k in reversed(range(3)):
        side = F.conv2d(read[k], weights[f"inner_blocks.{k}.0.weight"], weights[f"inner_blocks.{k}.0.bias"])
        if coarser is not None:
            side = side + coarser.repeat_interleave(2, 2).repeat_interleave(2, 3)
        coarser = side
        want = F.conv2d(side, weights[f"layer_blocks.{k}.0.weight"], weights[f"layer_blocks.{k}.0.bias"], padding=1)
        torch.testing.assert_close(found[k].flatten(0, 1), want, rtol=1e-4, atol=1e-5)
    strides = [of.stride for of in net.pyramid.levels]
    assert [tuple(m.shape) for m in found] == [(2, 2, 8, 64 // s, 96 // s) for s in strides]
    # in training the frozen backbone neither learns nor counts; what is above it learns
    sum(m.square().sum() for m in found).backward()  # type: ignore[union-attr]
    assert all(p.grad is None for p in net.pyramid.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.fpn.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.pyramid.state_dict().items())


@pytest.mark.parametrize("frozen", [True, False])
def test_the_backbone_is_in_eval_mode_whoever_learns(frozen: bool) -> None:
    net = picture_maps(frozen)
    torch.manual_seed(1)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    seen = [m.detach() for m in net.eval().backbone(images)]
    for a, b in zip(net.train().backbone(images), seen):
        assert torch.equal(a.detach(), b)
        assert a.requires_grad != frozen
