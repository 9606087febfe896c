"""What every audiokd encoder gives for a batch of clips, and how one part of it is asked for by name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audiokd.errors import AudiokdError


@dataclass
class AudioFeatures:
    """Features of B clips.

    Attributes:
        hidden_states: frames [B, T', D] of each layer in order, as the encoder's final norm (if it has one) leaves them.
        lengths: [B] frames of each clip; what lies past them is zeros.
        clip: [B, D'] one embedding a clip.
        cls: [B, D] of each layer, where the encoder has a token for the clip.
    """

    hidden_states: list[Tensor]
    lengths: Tensor
    clip: Tensor
    cls: list[Tensor] | None = None

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """One of `part_names`: [B, T', D] and [B] frames; the clip embedding is one frame."""
        if name == "clip":
            return self.clip[:, None], torch.ones_like(self.lengths)
        return self.hidden_states[layer_index(name, len(self.hidden_states))], self.lengths


def part_names(depth: int) -> tuple[str, ...]:
    """What an encoder of `depth` layers can give: the last layer's frames, the clip embedding, the frames of each layer."""
    return ("frames", "clip", *(f"layer{i + 1}" for i in range(depth)))


def layer_index(name: str, depth: int) -> int:
    """Which of `depth` layers, from 0, the frames of `name` are.

    Raises:
        AudiokdError: there is no such part.
    """
    names = part_names(depth)
    if name not in names or name == "clip":
        raise AudiokdError(f"no features {name!r}", fix=f"layers: {', '.join(names)}")
    return depth - 1 if name == "frames" else int(name.removeprefix("layer")) - 1
