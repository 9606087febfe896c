"""timm models of a few weights that see 32 pixels, by names that `load_backbone` takes once this is imported."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vision_transformer import VisionTransformer

__all__ = ["audiokd_tiny_resnet", "audiokd_tiny_vit"]

_SEEN = {"input_size": (3, 32, 32), "pool_size": None, "crop_pct": 1.0, "interpolation": "bicubic", "num_classes": 10}
default_cfgs = generate_default_cfgs(
    {
        "audiokd_tiny_vit.untrained": {
            **_SEEN, "mean": (0.5,) * 3, "std": (0.5,) * 3, "first_conv": "patch_embed.proj", "classifier": "head",
        },
        "audiokd_tiny_resnet.untrained": {
            **_SEEN, "mean": (0.5,) * 3, "std": (0.5,) * 3, "first_conv": "conv1", "classifier": "fc",
        },
    }
)  # fmt: skip


@register_model
def audiokd_tiny_vit(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Two layers of 32."""
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    return build_model_with_cfg(VisionTransformer, "audiokd_tiny_vit", pretrained, **{**shape, **kwargs})


@register_model
def audiokd_tiny_resnet(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """Four blocks of 8 to 32 channels, with batch norm."""
    shape = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (8, 16, 16, 32), "stem_width": 8}
    return build_model_with_cfg(ResNet, "audiokd_tiny_resnet", pretrained, **{**shape, **kwargs})
