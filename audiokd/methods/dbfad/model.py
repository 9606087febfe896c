"""DBFAD, RD4AD and STFPM: a student that was taught on normal pictures alone, and where it fails to follow its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.losses.pixel_cosine import cosine_distance
from audiokd.methods.dbfad.config import DBFADConfig
from audiokd.nn.tables import KeepsTables
from audiokd.vision.anomaly_map import AnomalyMap, scores_of
from audiokd.vision.feature_pyramid import FeaturePyramid
from audiokd.vision.inverted_resnet import InvertedResNet
from audiokd.vision.level_embedding import LevelEmbedding
from audiokd.vision.one_class_embedding import OneClassEmbedding
from audiokd.vision.residual_blocks import init_fan_out
from audiokd.vision.transforms import Preprocess


class ReverseStudent(nn.Module):
    """Bottleneck and inverted network of DBFAD or RD4AD: from the teacher's maps to maps like them.

    Args:
        config: of the detector.
        teacher: whose maps they are.
    """

    def __init__(self, config: DBFADConfig, teacher: FeaturePyramid):
        super().__init__()
        channels, strides = [of.channels for of in teacher.levels], [of.stride for of in teacher.levels]
        kind = config.block
        if config.kind == "dbfad":
            self.bottleneck: nn.Module = LevelEmbedding(channels, strides, config.attention)
        else:
            self.bottleneck = OneClassEmbedding(channels, config.depths[0], kind)  # type: ignore[arg-type]
        self.decoder = InvertedResNet(
            channels,
            strides,
            config.signed,
            config.widths,
            config.depths,
            kind,  # type: ignore[arg-type]
            config.kind == "dbfad" and config.residual,
            config.attention,
        )
        init_fan_out(self)

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps as the teacher's `maps` of `images`, which are not looked at."""
        return self.decoder(self.bottleneck(maps), maps)


class TwinStudent(nn.Module):
    """STFPM's student: the teacher's architecture with other weights, on the pictures themselves.

    Args:
        config: of the detector.
    """

    def __init__(self, config: DBFADConfig):
        super().__init__()
        self.net = FeaturePyramid(config.backbone, config.stem)

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of `images`; the teacher's are not looked at."""
        return self.net(images)


def build_student(config: DBFADConfig, teacher: FeaturePyramid) -> nn.Module:
    """The student of `config`, drawn at random, in training mode: (images, teacher's maps) -> maps.

    Raises:
        AudiokdError: of no kind that is known, or widths or depths that are not one a map.
    """
    if config.kind not in ("dbfad", "rd4ad", "stfpm"):
        raise AudiokdError(f"no detector {config.kind}", where="model.kind", fix="dbfad, rd4ad or stfpm")
    if config.kind == "stfpm":
        return TwinStudent(config)
    count = len(teacher.levels)
    for name, given in (("widths", config.widths), ("depths", config.depths)):
        if len(given) != count and (given or name == "depths"):
            what = f"{len(given)} {name}, the teacher has {count} maps"
            raise AudiokdError(
                what, where=f"model.{name}", fix="one a map, from the finest" if name == "widths" else "one a map"
            )
    return ReverseStudent(config, teacher)


def map_of(config: DBFADConfig) -> AnomalyMap:
    """What makes the map of `config` out of distances."""
    size = config.preprocess["size"][0]
    return AnomalyMap(size, config.combine, config.weigh, config.sigma, config.align_corners)  # type: ignore[arg-type]


def distances(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[Tensor]:
    """1 - cos [B, H_l, W_l] of each level."""
    return [cosine_distance(s, t) for s, t in zip(student, teacher)]


class DBFADModel(KeepsTables, PreTrainedModel):
    """Anomaly maps and scores of pictures. The teacher's weights are in it: it needs no hub and no file beside its folder.

    Args:
        config: of it.

    Raises:
        AudiokdError: as `build_student`, or timm has no such backbone.
    """

    config_class = DBFADConfig
    base_model_prefix = "dbfad"
    main_input_name = "pixel_values"
    kind: Literal["image"] = "image"
    feature_layers = ("map", "score")

    def __init__(self, config: DBFADConfig):
        super().__init__(config)
        with self.tables():
            self.teacher = FeaturePyramid(config.backbone, config.stem)
            self.student = build_student(config, self.teacher)
            self.to_map = map_of(config)
        self.post_init()
        self.teacher.eval().requires_grad_(False)

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the parts have begun by themselves."""

    def train(self, mode: bool = True) -> DBFADModel:
        """As of torch; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become `pixel_values`: the whole of each."""
        return Preprocess(**self.config.preprocess)

    @property
    def thresholds(self) -> dict[str, float]:
        """Of scores and of pixels, from held-out normal pictures; empty where none were held out."""
        return self.config.thresholds

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Raw scores [B] and maps [B, size, size] of pictures [B, 3, size, size] as `preprocess` has them.

        Raises:
            AudiokdError: pictures of another size.
        """
        size = self.config.preprocess["size"]
        if list(pixel_values.shape[-2:]) != list(size):
            what = f"pictures of {list(pixel_values.shape[-2:])} pixels, the detector takes {list(size)}"
            raise AudiokdError(what, fix="`preprocess` says how a picture becomes its input")
        with torch.no_grad():
            theirs = self.teacher(pixel_values)
        maps = self.to_map(distances(self.student(pixel_values, theirs), theirs))
        return scores_of(maps), maps

    def extract(self, x: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers`: the map as `size` frames of `size` numbers, [B, H, W] and [B] H; or the score [B, 1, 1].

        Args:
            x: pictures [B, 3, H, W] as `preprocess` has them.
            lengths: None.
            layer: "map" or "score".
        """
        score, maps = self(x)
        found = maps if layer == "map" else score[:, None, None]
        return found, torch.full((len(x),), found.shape[1], dtype=torch.long, device=x.device)
