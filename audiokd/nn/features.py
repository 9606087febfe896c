"""What every audiokd encoder gives for a batch of clips, and how one part of it is asked for by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audiokd.errors import AudiokdError

#: frames of all layers, side by side
LAYERS = "layers"


@dataclass
class AudioFeatures:
    """Features of B clips.

    Attributes:
        hidden_states: frames [B, T', D] of each layer in order, each through the encoder's final norm (if it has one, as pre-norm
            encoders do), so that the last is its output.
        lengths: [B] frames of each clip; what lies past them is zeros.
        clip: [B, D'] one embedding a clip.
        cls: [B, D] of each layer, where the encoder has a token for the clip.
    """

    hidden_states: list[Tensor]
    lengths: Tensor
    clip: Tensor
    cls: list[Tensor] | None = None

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """One of `part_names`: [B, T', D] and [B] frames; the clip embedding is one frame, of as many layers as it was made of."""
        if name == LAYERS:
            return torch.cat(self.hidden_states, -1), self.lengths
        if clip_blocks_of(name, len(self.hidden_states)):
            return self.clip[:, None], torch.ones_like(self.lengths)
        return self.hidden_states[layer_index(name, len(self.hidden_states))], self.lengths


def part_names(depth: int) -> tuple[str, ...]:
    """What an encoder of `depth` layers can give: the last layer's frames; the clip embedding, of all layers or of the last n;
    the frames of each layer; of all layers, side by side."""
    numbers = range(1, depth + 1)
    return ("frames", "clip", *(f"clip{n}" for n in numbers), *(f"layer{n}" for n in numbers), LAYERS)


def clip_blocks_of(name: str, depth: int) -> int:
    """Of how many last layers the clip embedding `name` is; 0 where it names no clip embedding."""
    if name not in part_names(depth) or not name.startswith("clip"):
        return 0
    return int(name.removeprefix("clip") or depth)


def layers_in(name: str, names: Sequence[str], cls_tokens: int = 0) -> int:
    """How many layers' features stand one after another in those called `name`, so that a probe can choose one.

    Args:
        name: one of `names`.
        names: the encoder's `feature_layers`.
        cls_tokens: of an encoder with a token for the clip, whose clip embedding has all layers' tokens before all their means: 1.
    """
    depth = sum(re.fullmatch(r"layer\d+", n) is not None for n in names)
    if name == LAYERS:
        return depth
    return 1 if cls_tokens else max(1, clip_blocks_of(name, depth))


def layer_index(name: str, depth: int) -> int:
    """Which of `depth` layers, from 0, the frames of `name` are.

    Raises:
        AudiokdError: there is no such part.
    """
    names = part_names(depth)
    if name not in names or name.startswith("clip") or name == LAYERS:
        raise AudiokdError(f"no features {name!r}", fix=f"layers: {', '.join(names)}")
    return depth - 1 if name == "frames" else int(name.removeprefix("layer")) - 1
