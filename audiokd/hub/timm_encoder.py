"""A backbone of timm's hub as an encoder of pictures: `timm/resnet18.a1_in1k`, or a folder as that hub has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from audiokd.vision.backbones import load_backbone


class TimmConfig(PreTrainedConfig):
    """What the backbone is.

    Args:
        architecture: timm's name.
    """

    model_type = "timm_encoder"

    def __init__(self, architecture: str = "", **kwargs: Any):
        self.architecture = architecture
        super().__init__(**kwargs)


class TimmEncoder(nn.Module):
    """Pooled features [B, 1, D] of pictures as the weights were trained to see them.

    Args:
        name: folder or hub id.

    Raises:
        AudiokdError: as `load_backbone`.
    """

    kind = "image"
    feature_layers = ("pooled",)

    def __init__(self, name: str):
        super().__init__()
        folder = Path(name)
        arch = json.loads((folder / "config.json").read_text())["architecture"] if folder.is_dir() else ""
        self.net = load_backbone(arch or name.partition("/")[2], name)
        self.preprocess, self.config = self.net.preprocess, TimmConfig(arch or name.partition("/")[2])

    def extract(self, x: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """[B, 1, D] of `x` [B, 3, H, W] as `preprocess` has it, and [B] ones."""
        return self.net(x)[:, None], torch.ones(len(x), dtype=torch.long, device=x.device)
