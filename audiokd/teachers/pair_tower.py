"""The side of a pair model that sees or hears, by itself: a network that can be trained, saved and built again without texts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.teachers.pair import ContrastivePair, clap_inputs

TOWERS = ("clip_vision_model", "siglip_vision_model", "clap_audio_model")


class PairTower(nn.Module):
    """The image tower of a CLIP or SigLIP, or the audio tower of a CLAP, with its projection; weights have the pair model's names.

    Args:
        config: the tower's as a dict, `model_type` (one of `TOWERS`) in it.
        dim: size of an embedding.
        processor: of a CLAP, its feature extractor's settings.

    Attributes:
        sample_rate: Hz of the waveforms that `inputs` takes; 0 for images.

    Raises:
        AudiokdError: no such tower.
    """

    def __init__(self, config: dict[str, Any], dim: int, processor: dict[str, Any] | None = None):
        super().__init__()
        from transformers import ClapAudioModel, ClapFeatureExtractor, CLIPVisionModel, SiglipVisionModel
        from transformers.models.clap.modeling_clap import ClapProjectionLayer

        family = config.get("model_type")
        if family not in TOWERS:
            raise AudiokdError(f"no tower of a pair model: {family}", fix=f"one of {', '.join(TOWERS)}")
        self.dim, self.family, self.sample_rate = dim, family, 0
        kind: Any = dict(zip(TOWERS, (CLIPVisionModel, SiglipVisionModel, ClapAudioModel)))[family]
        shape = kind.config_class.from_dict(config)
        if family == "clap_audio_model":
            self.audio_model: Any = kind(shape)
            self.audio_projection = ClapProjectionLayer(shape)
            self.processor: Any = ClapFeatureExtractor.from_dict(processor or {})
            self.sample_rate = self.processor.sampling_rate
            return
        self.vision_model: Any = kind(shape)
        if family == "clip_vision_model":
            self.visual_projection = nn.Linear(shape.hidden_size, dim, bias=False)

    def inputs(self, wavs: list[Tensor]) -> dict[str, Tensor]:
        """What `forward` takes, of waveforms [T] at `sample_rate`."""
        return clap_inputs(self.processor, wavs, self.family)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Embeddings [B, `dim`] of what the pair model's `preprocess` gives, in the directions of its `embed_media`."""
        if self.family != "clap_audio_model":
            pooled = self.vision_model(pixel_values=inputs["pixel_values"]).pooler_output
            return self.visual_projection(pooled) if self.family == "clip_vision_model" else pooled
        x = inputs["input_features"]
        longer = torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)
        pooled = self.audio_model(input_features=x, is_longer=longer).pooler_output
        each = F.normalize(self.audio_projection(pooled), dim=-1)
        return torch.stack([w.sum(0) for w in each.split(inputs["windows"].tolist())])


def tower_shape(pair: ContrastivePair) -> dict[str, Any]:
    """What `PairTower` makes the tower of `pair` of, without its weights."""
    config: Any = pair.net.config
    if pair.kind == "image":
        return {"config": config.vision_config.to_dict(), "dim": pair.dim}
    return {"config": config.audio_config.to_dict(), "dim": pair.dim, "processor": pair.processor.to_dict()}


def copy_tower(net: nn.Module, tower: PairTower) -> None:
    """Copy the weights of a pair model's network into its tower."""
    weights = net.state_dict()
    tower.load_state_dict({k: weights[k] for k in tower.state_dict()})
