"""Feature maps of several scales from a timm backbone: what the teachers of anomaly detection give, and STFPM's student learns.

A pyramid has the maps t1, t2, t3, each at twice the stride of the one before, and t0: what comes before t1 at half its stride,
max-pooled to it. Of a ResNet these are layer1 to layer3 at strides 4, 8, 16 and the stem (DBFAD, arXiv 2401.02287).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.weights import check_weights
from audiokd.vision.backbones import Backbone, check_name, load_backbone
from audiokd.vision.transforms import require_timm

LEVELS = 3  # t1 to t3
FINEST = 4  # stride of t1 at least


class Level(NamedTuple):
    """A map of a pyramid.

    Attributes:
        index: of timm's `feature_info`.
        channels: of the map.
        stride: pixels a cell, after max-pooling where `pool` says so.
        pool: factor of that.
    """

    index: int
    channels: int
    stride: int
    pool: int = 1


class FeaturePyramid(nn.Module):
    """Maps [B, C_i, H / stride_i, W / stride_i] of pictures, from the finest.

    Args:
        name: timm's of the backbone; drawn at random.
        stem: give t0, too.

    Attributes:
        levels: of the maps.
        multiple: sides of pictures are multiples of it: twice the coarsest stride, since a student halves that map once more.

    Raises:
        AudiokdError: timm has no such model, or it has not the maps, as a ViT.
    """

    def __init__(self, name: str, stem: bool = True):
        super().__init__()
        timm = require_timm()
        check_name(name)
        try:
            known = timm.create_model(name, features_only=True).feature_info
        except (RuntimeError, AssertionError, KeyError, AttributeError) as e:
            fix = "a CNN such as resnet34, wide_resnet50_2, tf_efficientnet_lite0"
            raise AudiokdError(f"gives no feature maps: {str(e).splitlines()[0][:80]}", where=name, fix=fix) from e
        self.levels = _levels(name, list(known.channels()), list(known.reduction()), stem)
        indices = tuple(level.index for level in self.levels)
        self.net = timm.create_model(name, features_only=True, out_indices=indices)
        if used := getattr(
            self.net, "_stage_out_idx", None
        ):  # of EfficientNet's kin timm keeps the blocks behind them, too
            self.net.blocks = self.net.blocks[: max(used)]
        self.multiple = 2 * self.levels[-1].stride

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of `images` [B, 3, H, W], H and W multiples of `multiple`."""
        maps = self.net(images)
        return [F.max_pool2d(x, 3, p, 1) if (p := of.pool) > 1 else x for x, of in zip(maps, self.levels)]

    def signed(self) -> tuple[bool, ...]:
        """Of each map, whether it has negative values: an activation such as ReLU leaves none, and a student can end in one."""
        was = self.training
        x = torch.randn(2, 3, 2 * self.multiple, 2 * self.multiple, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found = tuple(bool((m < 0).any()) for m in self.eval()(x.to(next(self.parameters()))))
        self.train(was)
        return found


def load_pyramid(name: str, weights: str = "", stem: bool = True) -> tuple[FeaturePyramid, Backbone]:
    """A pyramid with weights, in eval mode, and the backbone that it is the first part of.

    Args:
        name: timm's of the backbone.
        weights: file, folder or hub id as of `audiokd.vision.backbones.load_backbone`, as strict; empty draws them at random.
        stem: as of `FeaturePyramid`.

    Raises:
        AudiokdError: as `load_backbone` and `FeaturePyramid`; or timm's feature extractor has weights that the backbone lacks.
    """
    pyramid, whole = FeaturePyramid(name, stem), load_backbone(name, weights)
    theirs = whole.net.state_dict()
    by_flat = {_flat(k): v for k, v in theirs.items()}  # layer1.0.conv1 is layer1.0.conv1, blocks.0.0 is blocks_0.0
    found = {k: by_flat[_flat(k)] for k in pyramid.net.state_dict() if _flat(k) in by_flat}
    check_weights(
        pyramid.net.state_dict(), found, name, "timm's feature extractor of it has other weights: take another backbone"
    )
    pyramid.net.load_state_dict(found)
    return pyramid.eval(), whole


def check_size(size: int, multiple: int) -> None:
    """That pictures of `size` pixels a side go through a network without a rest.

    Raises:
        AudiokdError: they do not; the nearest sizes that do are named.
    """
    if size < 2 * multiple or size % multiple:
        down = max(2, size // multiple) * multiple
        fix = f"--model.size {down} or {down + multiple}"
        raise AudiokdError(
            f"pictures of {size} pixels a side, a multiple of {multiple} is due", where="model.size", fix=fix
        )


def _flat(key: str) -> str:
    return key.replace(".", "_")


def _levels(name: str, channels: list[int], strides: list[int], stem: bool) -> tuple[Level, ...]:
    starts = (k for k in range(len(strides)) if strides[k] >= FINEST and _doubling(strides[k : k + LEVELS]))
    first = next((k for k in starts if not stem or (k and strides[k] == 2 * strides[k - 1])), None)
    if first is None:
        what = f"its maps are at strides {strides}; {LEVELS} are due from {FINEST} on, each at twice the one before"
        what += ", and one more at half the first" if stem else ""
        raise AudiokdError(what, where=name, fix="a CNN such as resnet34, wide_resnet50_2 or tf_efficientnet_lite0")
    levels = [Level(k, channels[k], strides[k]) for k in range(first, first + LEVELS)]
    return (*([Level(first - 1, channels[first - 1], strides[first], 2)] if stem else []), *levels)


def _doubling(strides: list[int]) -> bool:
    return len(strides) == LEVELS and all(b == 2 * a for a, b in pairwise(strides))
