"""How well CLIP finds that a picture shows its text, differentiably (arXiv 2104.08718)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.teachers.base import load_pretrained


class ClipScore:
    """A frozen CLIP; gradients pass to the pictures.

    Args:
        name: folder or hub id.

    Raises:
        AudiokdError: nothing there, or no CLIP.
    """

    def __init__(self, name: str):
        from transformers import AutoTokenizer, CLIPModel

        self.net = load_pretrained(CLIPModel, name, "a CLIP").eval().requires_grad_(False)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(name)

    def pictures(self, x: Tensor) -> Tensor:
        """Embeddings [B, D] of pictures [B, 1 or 3, H, W] in [-1, 1], resized and scaled as CLIP's own were."""
        side = self.net.config.vision_config.image_size
        x = F.interpolate(x.float(), (side, side), mode="bicubic", align_corners=False, antialias=True)
        mean, std = (x.new_tensor(v).reshape(1, 3, 1, 1) for v in (OPENAI_MEAN, OPENAI_STD))
        seen = ((x.clamp(-1, 1) + 1) / 2).expand(-1, 3, -1, -1)
        found = self.net.get_image_features(pixel_values=(seen - mean) / std)
        return getattr(found, "pooler_output", found)

    @torch.no_grad()
    def texts(self, prompts: list[str]) -> Tensor:
        """Embeddings [B, D] of texts, cut at CLIP's length."""
        length = self.net.config.text_config.max_position_embeddings
        tokens = self.tokenizer(prompts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        found = self.net.get_text_features(
            **{k: tokens[k].to(self.net.device) for k in ("input_ids", "attention_mask")}
        )
        return getattr(found, "pooler_output", found)


OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
