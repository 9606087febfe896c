"""Diffusion UNets of a few thousand random weights, one of each kind that takes its conditions another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AudioLDM2UNet2DConditionModel, UNet2DConditionModel
from torch import Tensor, nn

WIDTH, TEXT = 16, 8


def unet(**changes: Any) -> UNet2DConditionModel:
    """Two levels, cross-attention in one of them."""
    torch.manual_seed(0)
    shape = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (WIDTH, 2 * WIDTH),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": TEXT,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**shape | changes).eval()


def text(batch: int, length: int = 5, dim: int = TEXT) -> Tensor:
    return torch.randn(batch, length, dim)


def mask(batch: int, length: int = 5) -> Tensor:
    return (torch.arange(length) < torch.arange(1, batch + 1)[:, None] + 1).long()


def audioldm2() -> AudioLDM2UNet2DConditionModel:
    torch.manual_seed(0)
    return AudioLDM2UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(WIDTH, 2 * WIDTH),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=([None, TEXT, 6], [None, TEXT, 6]),
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()


Conditions = Callable[[int], dict[str, Any]]
#: name -> a network, and its conditions of a batch
KINDS: dict[str, tuple[Callable[[], nn.Module], Conditions]] = {
    "stable_diffusion": (unet, lambda b: {"encoder_hidden_states": text(b)}),
    "masked": (unet, lambda b: {"encoder_hidden_states": text(b), "encoder_attention_mask": mask(b)}),
    "labels": (
        lambda: unet(encoder_hid_dim=3, encoder_hid_dim_type="text_proj"),
        lambda b: {"encoder_hidden_states": torch.eye(3)[torch.arange(b) % 3][:, None]},
    ),
    "classes": (
        lambda: unet(num_class_embeds=5),
        lambda b: {"encoder_hidden_states": text(b), "class_labels": torch.arange(b) % 5},
    ),
    "class_time": (
        lambda: unet(class_embed_type="timestep"),
        lambda b: {"encoder_hidden_states": text(b), "class_labels": torch.arange(b) * 3},
    ),
    "audioldm": (  # and MusicLDM: the text is a class embedding, concatenated with that of time; nothing to attend to
        lambda: unet(
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=6,
            class_embeddings_concat=True,
            cross_attention_dim=(WIDTH, 2 * WIDTH),
        ),
        lambda b: {"encoder_hidden_states": None, "class_labels": torch.randn(b, 6)},
    ),
    "sdxl": (
        lambda: unet(
            addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + 7
        ),
        lambda b: {
            "encoder_hidden_states": text(b),
            "added_cond_kwargs": {
                "text_embeds": torch.randn(b, 7),
                "time_ids": torch.arange(b * 6).reshape(b, 6).float(),
            },
        },
    ),
    "text_added": (
        lambda: unet(addition_embed_type="text", addition_embed_type_num_heads=2),
        lambda b: {"encoder_hidden_states": text(b)},
    ),
    "hint": (
        lambda: unet(
            in_channels=8, addition_embed_type="image_hint", encoder_hid_dim=6, encoder_hid_dim_type="image_proj"
        ),
        lambda b: {"added_cond_kwargs": {"image_embeds": torch.randn(b, 6), "hint": torch.randn(b, 3, 64, 64)}},
    ),
    "guided": (
        lambda: unet(time_cond_proj_dim=3),
        lambda b: {"encoder_hidden_states": text(b), "timestep_cond": torch.randn(b, 3)},
    ),
    "centred": (
        lambda: unet(center_input_sample=True, time_embedding_act_fn="silu"),
        lambda b: {"encoder_hidden_states": text(b)},
    ),
    "audioldm2": (
        audioldm2,
        lambda b: {
            "encoder_hidden_states": text(b),
            "encoder_attention_mask": mask(b),
            "encoder_hidden_states_1": text(b, 3, 6),
            "encoder_attention_mask_1": mask(b, 3),
        },
    ),
}
